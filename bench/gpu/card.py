"""The device that is measured, and all that only CUDA can be asked."""

import importlib.metadata
import os
import subprocess
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from gpu.goals import NO_CARD

if TYPE_CHECKING:
    import torch

_PACKAGES = (
    "torch",
    "triton",
    "transformers",
    "onnxruntime-gpu",
    "onnxruntime",
    "tokenizers",
    "onnx",
    "onnxscript",
)


def facts(device: Literal["cuda", "cpu"]) -> dict[str, str | int | float | None]:
    """Return what figures depend on: card, driver, memory, processor, versions.

    Raises SystemExit without CUDA where that is asked for.
    """
    found: dict[str, str | int | float | None] = {"card": NO_CARD, "cores": len(os.sched_getaffinity(0))}
    if device == "cuda":
        require_cuda()
        import torch

        properties = torch.cuda.get_device_properties(0)
        found |= {
            "card": properties.name,
            "memory, GB": round(properties.total_memory / 1e9, 1),
            "multiprocessors": properties.multi_processor_count,
            "CUDA of PyTorch": torch.version.cuda,
            "driver, clock, power limit": _smi("driver_version,clocks.max.sm,power.limit"),
        }
    return found | {package: _version(package) for package in _PACKAGES}


def require_cuda() -> None:
    """Raise SystemExit where PyTorch sees no GPU."""
    import torch

    if not torch.cuda.is_available():
        raise SystemExit(
            f"PyTorch {torch.__version__} sees no GPU. Look at nvidia-smi, or try the script with --smoke."
        )


class Card:
    """A GPU, or the CPU in its place."""

    def __init__(self, device: Literal["cuda", "cpu"]) -> None:
        """Take the device. Raises SystemExit without CUDA where that is asked for."""
        import torch

        self.device = torch.device(device)
        self.is_cuda = device == "cuda"
        if self.is_cuda:
            require_cuda()
        # Inductor needs a compiler and half a minute; elsewhere all that is asked is whether the model can be traced.
        self.compiler = "inductor" if self.is_cuda else "eager"

    def synchronize(self) -> None:
        """Wait until everything that was begun is done."""
        if self.is_cuda:
            import torch

            torch.cuda.synchronize()

    def release(self) -> None:
        """Give memory that PyTorch keeps for later back to others on the card."""
        if self.is_cuda:
            import torch

            torch.cuda.empty_cache()

    def pinned(self, tensor: "torch.Tensor") -> "torch.Tensor":
        """Return a copy on the host that the card can read by itself."""
        return tensor.pin_memory() if self.is_cuda else tensor.clone()

    def timed(self, run: Callable[[], object], least: float) -> float:
        """Return the seconds of one run: the mean of as many as take `least` seconds. It has run once before."""
        self.synchronize()
        began, count = time.perf_counter(), 0
        while True:
            run()
            count += 1
            self.synchronize()
            seconds = time.perf_counter() - began
            if seconds >= least:
                return seconds / count


def _smi(query: str) -> str | None:
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip().splitlines()[0]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
