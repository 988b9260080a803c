"""What loaders are compared on: texts of random ids, each with the relevance of 72 heads. Needs NumPy alone.

Axes: H heads, T tokens.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

HEADS = 72
VOCABULARY = 30_522
LENGTHS = {"short": (10, 50), "long": (256, 512)}  # tokens, from and to


class Text(NamedTuple):
    """ids: (T,) uint16.  relevance: (H, T) float32, which sums to T."""

    ids: NDArray[Any]
    relevance: NDArray[np.float32]
    label: int


def texts(kind: str, count: int) -> Iterator[Text]:
    """Yield the same `count` texts each time."""
    rng = np.random.default_rng(0)
    least, most = LENGTHS[kind]
    # Drawing every value anew would take longer than what is timed.
    noise_HT = rng.random((HEADS, 4 * most), np.float32) ** 3 + np.float32(1e-3)
    for number in range(count):
        tokens = int(rng.integers(least, most + 1))
        begin = int(rng.integers(0, 3 * most))
        relevance_HT = noise_HT[:, begin : begin + tokens]
        relevance_HT = relevance_HT * (tokens / relevance_HT.sum(axis=1, keepdims=True))
        ids = rng.integers(1_000, VOCABULARY, tokens).astype(np.uint16)
        ids[0], ids[-1] = 101, 102
        yield Text(ids, relevance_HT, number % 2)
