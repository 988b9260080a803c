"""Parts of a data set, the same for every method: the texts to train on, and those that are held out.

Axes: N texts.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amix.engine.base.errors import UsageError

_HOLD_OUT_STREAM = 1  # apart from the draw of the subset itself


def draw_subset(samples: int, wanted: int | None, seed: int, where: Path) -> NDArray[np.int64] | None:
    """Return the numbers of `wanted` of `samples` texts, drawn regardless of their labels, ascending; None for all.

    A smaller draw of the same seed is part of a larger one.
    """
    if wanted is None:
        return None
    if wanted > samples:
        raise UsageError(f"samples is {wanted}, but {where} holds {samples}. Ask for fewer, or leave it out.")
    return np.sort(np.random.Generator(np.random.Philox(seed)).permutation(samples)[:wanted])


def hold_out(labels_N: NDArray[np.integer], share: float, seed: int) -> NDArray[np.bool_]:
    """Return which texts are held out, (N,) bool: `share` of them, and of every class as nearly that share as can be.

    labels_N: class ids; all equal where texts have no single class.  share: above 0, below 1.
    The number is rounded. Every class keeps a text to train on, so the only text of a class is never held out.
    Raises UsageError where no text would be held out, or too few would be left.
    """
    classes, class_N, count_C = np.unique(labels_N, return_inverse=True, return_counts=True)
    wanted = round(share * len(labels_N))
    if not 0 < wanted <= len(labels_N) - len(classes):
        raise UsageError(
            f"--dev {share:g} would hold out {wanted} of {len(labels_N)} training texts. At least one must be held "
            "out, and one of each class be left to train on. Give another share, or more texts."
        )
    # The largest remainders get the texts that rounding down leaves.
    exact_C = share * count_C
    taken_C = np.minimum(exact_C.astype(np.int64), count_C - 1)
    while taken_C.sum() < wanted:
        lacking_C = np.where(taken_C < count_C - 1, exact_C - taken_C, -np.inf)
        taken_C[lacking_C.argmax()] += 1
    seeds = np.random.SeedSequence((seed, _HOLD_OUT_STREAM))
    turn = np.random.Generator(np.random.Philox(seeds)).permutation(len(labels_N))
    is_held = np.zeros(len(labels_N), np.bool_)
    for number, taken in enumerate(taken_C):
        is_held[turn[class_N[turn] == number][:taken]] = True
    return is_held
