"""Rows of different lengths, laid end to end, as one padded array.

Axes: B rows, T tokens of the longest row, N tokens of all rows.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)


def token_mask(lengths_B: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (B, T) bool: True where a row has a token when all rows are padded on the right."""
    return np.arange(int(lengths_B.max(initial=0))) < lengths_B[:, None]


def padded(flat_N: NDArray[Scalar], mask_BT: NDArray[np.bool_], fill: int = 0) -> NDArray[Scalar]:
    """Return (B, T) with the values of `flat_N` where the mask is set, and `fill` elsewhere."""
    padded_BT = np.full(mask_BT.shape, fill, flat_N.dtype)
    padded_BT[mask_BT] = flat_N  # twice as fast as setting them by their positions
    return padded_BT
