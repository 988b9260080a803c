"""Part of a data set to train on, the same for every method."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amix.engine.base.errors import UsageError


def draw_subset(samples: int, wanted: int | None, seed: int, where: Path) -> NDArray[np.int64] | None:
    """Return the numbers of `wanted` of `samples` texts, drawn regardless of their labels, ascending; None for all.

    A smaller draw of the same seed is part of a larger one.
    """
    if wanted is None:
        return None
    if wanted > samples:
        raise UsageError(f"samples is {wanted}, but {where} holds {samples}. Ask for fewer, or leave it out.")
    return np.sort(np.random.Generator(np.random.Philox(seed)).permutation(samples)[:wanted])
