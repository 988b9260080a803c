"""The device and the cores that a run asks for, or an error: never silently another device."""

import atexit
import contextlib
import os
from collections.abc import Iterator

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from amix.engine.base.devices import cuda_index, parse_device
from amix.engine.base.errors import DeviceError, UsageError
from amix.engine.base.machine import available_cores


def open_accelerator(device: str | None, mixed_precision: str) -> Accelerator:
    """Return an Accelerator on `device`: `cpu`, `cuda`, `cuda:N`, or None for a GPU if there is one.

    Under `torchrun` or `accelerate launch` each process has the GPU of its local rank.
    Raises UsageError for another name, DeviceError where the device or precision is not available.
    """
    asked = None if device is None else parse_device(device)
    on_cpu = asked == "cpu" or (asked is None and not torch.cuda.is_available())
    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if launched and device is not None and ":" in device:
        raise UsageError(
            f"device is '{device}', but several processes were started, which take a GPU each. Give --device cuda or "
            "cpu; CUDA_VISIBLE_DEVICES chooses the GPUs."
        )
    if not on_cpu:
        number = int(os.environ.get("LOCAL_RANK", "0")) if launched else cuda_index(asked or "cuda:0") or 0
        _require_gpu(f"cuda:{number}" if launched else device or "cuda", number)
    if on_cpu and mixed_precision == "fp16":
        raise DeviceError("mixed_precision fp16 needs a GPU; on the CPU use bf16 or no.")

    # One process may train several times with different settings, and accelerate would keep the first ones.
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(cpu=on_cpu, mixed_precision=mixed_precision)


@contextlib.contextmanager
def ended_group() -> Iterator[None]:
    """End the process group of a launcher when this process ends after the block; after an error the launcher does it.

    Not at once: another run in the same processes goes on with the group. A second group would find the addresses of
    the first in the launcher's store, and wait for a process that has left it.
    """
    atexit.unregister(_end_group)
    yield
    atexit.register(_end_group)


def _end_group() -> None:
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch, which draws a new classification head; afterwards the caller's generators are as they were."""
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def limited_threads(asked: int | None) -> Iterator[None]:
    """Let PyTorch use `asked` threads in the block. None: as many as before, but no more than there are cores.

    PyTorch counts the machine's cores, and not those that a container's quota leaves.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, available_cores()) if asked is None else asked)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _require_gpu(device: str, number: int) -> None:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if number >= count:
        has = f"there are {count} (cuda:0 to cuda:{count - 1})" if count else "torch sees no GPU"
        raise DeviceError(
            f"device is '{device}', but {has}. Name another device, or cpu; 'amix doctor' says more."
        )
    torch.cuda.set_device(number)
