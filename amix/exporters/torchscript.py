"""The extractor as a frozen TorchScript trace (`model.torchscript.pt`)."""

from pathlib import Path

import torch

from amix.engine.base.errors import ExportError
from amix.engine.extractor.encoder import Encoder
from amix.engine.extractor.module import RelevanceModule
from amix.engine.extractor.pretrained import quiet_transformers
from amix.exporters.capture import example_inputs, quiet_torch, save


def write_torchscript(module: RelevanceModule, encoder: Encoder, path: Path) -> None:
    """Trace and freeze `module` to `path`. Freezing turns weights into constants and drops unused ones."""
    try:
        with quiet_torch(), quiet_transformers(), torch.no_grad():
            traced = torch.jit.trace(module, example_inputs(encoder), check_trace=False)
            frozen = torch.jit.freeze(traced)
    except ExportError:
        raise
    except RuntimeError as problem:
        raise ExportError(
            f"a model of type '{encoder.model_type}' cannot be traced by TorchScript ({problem}). Use "
            f"--format onnx."
        ) from problem
    with quiet_torch():
        save(lambda target: torch.jit.save(frozen, target), path)
