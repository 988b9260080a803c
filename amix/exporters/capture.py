"""The encoder as one graph with free batch and token dimensions, and nothing that relevance does not need."""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import torch
from torch import Tensor, nn
from torch._dynamo.exc import UserError  # torch.export raises it, and exports no name for it
from torch.export import Dim, ExportedProgram

from amix.engine.base.errors import ExportError
from amix.engine.extractor.encoder import Encoder

_SPARE = 1 << 16  # bytes: a graph's file is a little larger than the same graph in memory


@contextlib.contextmanager
def quiet_torch() -> Iterator[None]:
    """Silence PyTorch's exporters: the parity probes check what their warnings are about."""
    logger = logging.getLogger("torch")
    level = logger.level
    children = {name: logging.getLogger(name) for name in ("torch.onnx", "torch.export", "torch._export")}
    levels = {name: child.level for name, child in children.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for target in (logger, *children.values()):
            target.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)
            for name, child in children.items():
                child.setLevel(levels[name])


def example_inputs(encoder: Encoder) -> tuple[Tensor, ...]:
    """Return inputs (2, 7) with padding, in the order of `encoder.input_names`; no dimension is 0 or 1."""
    # Ids from the middle of the vocabulary: neither padding nor another special token.
    start = encoder.config.vocab_size // 2
    ids_BT = (torch.arange(14) % 7 + start).clamp(max=encoder.config.vocab_size - 1).reshape(2, 7)
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[1, 5:] = 0
    return (ids_BT, mask_BT, torch.zeros_like(ids_BT))[: len(encoder.input_names)]


def capture(module: nn.Module, encoder: Encoder) -> ExportedProgram:
    """Return `module` as an exported program without the computation that its output does not depend on.

    Unused weights are still listed: torch.onnx leaves them out by itself, write_pt2 has to remove them.
    Raises ExportError when the encoder cannot be captured with free batch and token dimensions.
    """
    try:
        with quiet_torch(), torch.no_grad():
            program = exported(module, encoder)
    except ExportError:
        raise
    except Exception as problem:  # torch.export raises many kinds, some of them private
        raise ExportError(
            f"a model of type '{encoder.model_type}' cannot be captured by torch.export with free batch and "
            f"token dimensions ({problem}). Use --format torchscript, which traces it."
        ) from problem
    graph = program.graph
    for node in list(graph.nodes):
        # Dropout counts as impure because it may draw random numbers, so everything before it would be kept.
        if node.target is torch.ops.aten.dropout.default and node.args[2] is False:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    graph.eliminate_dead_code()
    program.graph_module.recompile()
    return program


def exported(module: nn.Module, encoder: Encoder) -> ExportedProgram:
    """Return what torch.export makes of a module that takes the encoder's inputs, of any batch size and length."""
    shapes = [free_axes(encoder)] * len(encoder.input_names)
    try:
        return torch.export.export(module, example_inputs(encoder), dynamic_shapes=shapes)
    except UserError:
        # Texts of one or two tokens seem a case apart where a model looks at neighbours (MobileBERT). They are not, but
        # torch.export has to be told to leave that to the run.
        return torch.export.export(
            module,
            example_inputs(encoder),
            dynamic_shapes=shapes,
            prefer_deferred_runtime_asserts_over_guards=True,
        )


def free_axes(encoder: Encoder) -> dict[int, Dim]:
    """Return the axes of every input that may have any size."""
    return {0: Dim("batch", min=1), 1: Dim("tokens", min=1, max=encoder.max_length)}


def save(write: Callable[[IO[bytes] | str], object], path: Path) -> None:
    """Save a graph of torch with `write`. Raises OSError where there is no room for it.

    torch ends the whole process where its writer meets a full disk. So the room is taken beforehand.
    """
    buffer = io.BytesIO()
    write(buffer)
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, buffer.tell() + _SPARE)
    write(str(path))  # not the buffer's bytes: the file's name is inside
