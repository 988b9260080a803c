"""What decides the last bits of relevance on a machine. It is recorded with the shards and compared on resuming."""

import importlib.metadata
import platform
from pathlib import Path

from amix.engine.extractor.folder import Backend

# Widest first: math libraries choose their kernels by the widest set that a processor has.
_X86_SETS = ("amx_tile", "avx512_vnni", "avx512f", "avx_vnni", "avx2", "avx")


def environment(backend: Backend, device: str) -> dict[str, str]:
    """Return runtime with version, kind of device, and instruction set; no host and no path."""
    runtimes = {"onnxruntime": ("onnxruntime",), "triton": ("torch", "triton")}.get(backend, ("torch",))
    return {
        "tokenizers": _version("tokenizers"),
        "runtime": ", ".join(f"{runtime} {_version(runtime)}" for runtime in runtimes),
        "device": device.partition(":")[0],
        "instructions": _instructions(),
    }


def _version(runtime: str) -> str:
    for distribution in (runtime, f"{runtime}-gpu"):
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
