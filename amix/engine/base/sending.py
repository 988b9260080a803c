"""Tensors on their way to another device."""

import torch
from torch import Tensor


def sent(value: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on `device`; to a GPU it is copied while this process goes on.

    Only page-locked memory can be copied so. From any other memory the copy would wait for all that the GPU has still
    to do, and the GPU would then wait for its next work.
    """
    if device.type == "cuda" and value.device.type == "cpu" and not value.is_pinned():
        value = value.pin_memory()  # its allocator keeps it until the copy is over
    return value.to(device, non_blocking=True)
