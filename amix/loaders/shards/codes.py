"""How relevance is stored: as float16, as float32, or as bytes in a square-root code.

Axes: H heads, T tokens.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from amix.engine.base.errors import ShardError
from amix.loaders.shards.choices import RelevanceDtype
from amix.loaders.shards.layout import RELEVANCE_DTYPES

_BEYOND_HALVES = 65_520  # from here on, float16 has only infinity


def encode(
    relevance_HT: NDArray[np.float32], dtype: RelevanceDtype
) -> tuple[NDArray[Any], NDArray[np.float32] | None]:  # Any: one of several types
    """Return relevance as stored, and for `uint8` the scale per head, (H,) float32.

    The square root spreads the codes: most of a text's relevance is far below its largest value, where a
    linear code would store zeros.  Raises ShardError for values that are not finite, negative or too large.
    """
    # With a NaN among the numbers, min and max are NaN, and both comparisons are false.
    least, largest = relevance_HT.min(initial=0), relevance_HT.max(initial=0)
    if not (least >= 0 and largest < np.inf):
        raise ShardError(
            "the extractor gave relevance that is NaN, infinite or negative. Export it again: 'amix export' "
            "compares the graph with the encoder."
        )
    if dtype == "uint8":
        scale_H = relevance_HT.max(axis=1).astype("<f4")
        safe_H1 = np.where(scale_H > 0, scale_H, 1)[:, None]
        return np.rint(255 * np.sqrt(relevance_HT / safe_H1)).astype("|u1"), scale_H
    if dtype == "float16" and largest >= _BEYOND_HALVES:
        raise ShardError("relevance exceeds the range of float16. Store it with --dtype float32.")
    return relevance_HT.astype(RELEVANCE_DTYPES[dtype]), None


def decode(
    stored_HT: NDArray[Any],  # Any: as above
    scale_HT: NDArray[np.float32] | None,
) -> NDArray[np.float32]:
    """Return the float32 relevance that `encode` stored, (H, T).

    scale_HT: of `uint8`; (H, 1) for one sample, (H, T) for several end to end.
    """
    relevance_HT = stored_HT.astype(np.float32)
    if scale_HT is None:
        return relevance_HT
    decoded_HT: NDArray[np.float32] = np.square(relevance_HT / np.float32(255)) * scale_HT
    return decoded_HT
