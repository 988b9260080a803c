"""What a session runs a backend by: a function from checked ids to relevance.

Axes: B batch, H heads, T tokens.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from amix.engine.base.errors import DeviceError

Ids = NDArray[np.int64]
Relevance = NDArray[np.float32]


class Runner(Protocol):
    """Runs one batch."""

    def __call__(self, inputs: Mapping[str, Ids]) -> Relevance:
        """Return relevance (B, H, T), an array that no later run writes to. inputs: (B, T) each, not empty."""
        ...


def no_gpu(cuda: int, why: str, remedy: str) -> DeviceError:
    """Return the error for a GPU that was asked for and is not available."""
    return DeviceError(f"cuda:{cuda} was asked for, but {why}. {remedy} Or run on the CPU with --device cpu.")
