"""The device that a run asks for, or an error: never another one in silence."""

import contextlib
import re
from collections.abc import Iterator

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from amix.engine.errors import DeviceError, TrainError, UsageError


def open_accelerator(device: str | None, mixed_precision: str) -> Accelerator:
    """Return an Accelerator on `device`: `cpu`, `cuda`, `cuda:N`, or None for a GPU if there is one.

    Raises UsageError for another name, DeviceError where the device or precision cannot be had, and
    TrainError under `accelerate launch` with several processes.
    """
    match = re.fullmatch(r"cpu|cuda(?::(\d{1,3}))?", device or "")
    if device is not None and match is None:
        raise UsageError(f"device is '{device}'; it must be cpu, cuda or cuda:N.")
    on_cpu = device == "cpu" or (device is None and not torch.cuda.is_available())
    if not on_cpu:
        _require_gpu(device or "cuda", int(match[1] or 0) if match else 0)
    if on_cpu and mixed_precision == "fp16":
        raise DeviceError("mixed_precision fp16 needs a GPU; on the CPU use bf16 or no.")

    # One process may train several times with different settings; accelerate keeps the first ones otherwise.
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=on_cpu, mixed_precision=mixed_precision)
    if accelerator.num_processes > 1:
        raise TrainError(
            f"amix train runs in one process, and accelerate launched "
            f"{accelerator.num_processes}. Start it without a launcher."
        )
    return accelerator


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch, which draws a new head, and give the caller's generators back as they were."""
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _require_gpu(device: str, number: int) -> None:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if number >= count:
        has = f"there are {count} (cuda:0 to cuda:{count - 1})" if count else "torch sees no GPU"
        raise DeviceError(
            f"device is '{device}', but {has}. Ask for another one, or for cpu; 'amix doctor' says more."
        )
    torch.cuda.set_device(number)
