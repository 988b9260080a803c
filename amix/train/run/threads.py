"""How many cores PyTorch uses for an operation on the CPU."""

import contextlib
from collections.abc import Iterator

import torch

from amix.engine.base.machine import available_cores


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
