"""What decides the last bits of relevance on a machine. It is recorded with the shards and compared on resuming."""

import importlib.metadata
import platform
from collections.abc import Sequence
from pathlib import Path

from amix.engine.base.devices import cuda_index
from amix.engine.base.gpu import gpu_model
from amix.engine.extractor.folder import Backend
from amix.loaders.precompute.batching import Budget

# Widest first: math libraries choose their kernels by the widest set that a processor has.
_X86_SETS = ("amx_tile", "avx512_vnni", "avx512f", "avx_vnni", "avx2", "avx")


def environment(backend: Backend, devices: Sequence[str], budget: Budget) -> dict[str, str]:
    """Return runtime with version, kind of device, and instruction set; no host and no path.

    On GPUs also their models, and what else chooses their kernels: the limits of a batch, and whether factors may be
    rounded to TF32.
    """
    gpus = [number for number in map(cuda_index, devices) if number is not None]
    # Where both builds of ONNX Runtime are installed, only the one for GPUs can be what runs there.
    onnxruntime = ("onnxruntime", "onnxruntime-gpu")[:: -1 if gpus else 1]
    runtime = {"onnxruntime": _runtime(*onnxruntime), "triton": f"{_runtime('torch')}, {_runtime('triton')}"}
    found = {
        "tokenizers": _version("tokenizers"),
        "runtime": runtime.get(backend, _runtime("torch")),
        "device": devices[0].partition(":")[0],
        "instructions": _instructions(),
    }
    if not gpus:
        return found
    return found | {
        "gpu": " and ".join(sorted({gpu_model(number) or "unknown" for number in gpus})),
        "tf32": _tf32(backend),
        "batches": f"{budget.tokens} tokens, {budget.scores} scores",
    }


def _tf32(backend: Backend) -> str:
    if backend == "onnxruntime":
        return "off"  # a session of ours switches it off
    import torch

    return "off" if torch.get_float32_matmul_precision() == "highest" else "on"


def _runtime(*distributions: str) -> str:
    """Return the name and version of a runtime: the first of these distributions that is installed."""
    return f"{distributions[0].removesuffix('-gpu')} {_version(*distributions)}"


def _version(*distributions: str) -> str:
    for distribution in distributions:
        try:
            # The local part names a build (+cpu), not a version.
            return importlib.metadata.version(distribution).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
    return "none"


def _instructions() -> str:
    machine = platform.machine()
    try:
        flags = next(
            line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")
        )
    except (OSError, StopIteration):
        return machine
    present = set(flags.split())
    return f"{machine} {next((name for name in _X86_SETS if name in present), 'base')}"
