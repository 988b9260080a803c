"""The extractor as a torch.export archive (`model.pt2`)."""

from pathlib import Path

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule

from amix.engine.extractor.encoder import Encoder
from amix.exporters.capture import exported, quiet_torch, save


def write_pt2(program: ExportedProgram, encoder: Encoder, path: Path) -> None:
    """Write `program`, as `capture` made it, to `path` without the weights that it does not use."""
    with quiet_torch(), torch.no_grad():
        module = program.module(check_guards=False)
        assert isinstance(module, GraphModule)
        _drop_unused_weights(module)
        slim = exported(module, encoder)
        save(lambda target: torch.export.save(slim, target), path)


def _drop_unused_weights(module: GraphModule) -> None:
    module.graph.eliminate_dead_code()
    used = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    for name, _ in [*module.named_parameters(), *module.named_buffers()]:
        if name not in used:
            parent, _, leaf = name.rpartition(".")
            delattr(module.get_submodule(parent), leaf)
    module.recompile()
