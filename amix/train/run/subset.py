"""Parts of a data set, the same for every method: the texts to train on, those that are held out, and folds.

Axes: N texts.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amix.engine.base.errors import UsageError

_HOLD_OUT_STREAM, _FOLD_STREAM = 1, 4  # apart from the draw of the subset itself


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
    turn = _generator(seed, _HOLD_OUT_STREAM).permutation(len(labels_N))
    is_held = np.zeros(len(labels_N), np.bool_)
    for number, taken in enumerate(taken_C):
        is_held[turn[class_N[turn] == number][:taken]] = True
    return is_held


def deal_folds(
    labels_N: NDArray[np.integer], names: Sequence[str], folds: int, seed: int
) -> NDArray[np.int64]:
    """Return the fold of every text, (N,) from 0; two folds differ by one text at most, and so do they in each class.

    labels_N: class ids, or -1 throughout where texts have no single class.  names: of the classes.
    Raises UsageError for a class with fewer texts than there are folds; a class without any text does not count.
    """
    for number, count in zip(*np.unique(labels_N, return_counts=True), strict=True):
        if count < folds:
            what = (
                f"texts of every class, but '{names[number]}' has"
                if number >= 0
                else "training texts, but there are"
            )
            raise UsageError(
                f"--dev cv:{folds} needs {folds} {what} {count}. Use fewer folds, train on more texts, or hold out a "
                "share of them (--dev 0.2)."
            )
    turn = _generator(seed, _FOLD_STREAM).permutation(len(labels_N))
    fold_N = np.empty(len(labels_N), np.int64)
    # Dealt out like cards, one class after the other.
    fold_N[turn[np.argsort(labels_N[turn], kind="stable")]] = np.arange(len(labels_N)) % folds
    return fold_N


def _generator(seed: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, stream))))
