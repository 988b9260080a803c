"""Labels made wrong on purpose, for experiments on how methods bear with wrong labels.

Axes: N texts.
"""

from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from amix.train.options.config import NoiseKind

_STREAM = 2  # apart from the draws of the texts themselves, which have the same seed


def noisy_labels(
    labels_N: NDArray[np.integer], classes: int, share: float, kind: NoiseKind, seed: int
) -> NDArray[np.int64]:
    """Return class ids of which each is wrong with probability `share`.

    labels_N: the true ones.  classes: how many there are, at least 2.
    kind: which wrong class. `uniform` = any of the others, each equally likely; `neighbour` = the next one, and the
        first in place of the last.
    Which labels are wrong depends on `seed` and their place in `labels_N` alone, and is the same for both kinds. With a
    larger share, those that were wrong still are.
    """
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, _STREAM))))
    is_wrong_N = rng.random(len(labels_N)) < share
    match kind:
        case "uniform":
            step_N = rng.integers(1, classes, len(labels_N))
        case "neighbour":
            step_N = np.ones(len(labels_N), np.int64)
        case _:
            assert_never(kind)
    return np.where(is_wrong_N, (labels_N + step_N) % classes, labels_N).astype(np.int64)
