"""Parts of a data set, the same for every method: the texts to train on, those that are held out, and folds.

Axes: N texts.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amix.engine.base.errors import UsageError

_LOG = logging.getLogger(__name__)
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

    The only text of a class is in none, -1: a model that was trained without it would not know the class.
    labels_N: class ids, or -1 throughout where texts have no single class.  names: of the classes.
    Raises UsageError where no class has a text for each fold. Warns of each that has not.
    """
    found, count = np.unique(labels_N, return_counts=True)
    if count.max(initial=0) < folds:
        raise UsageError(
            f"--dev cv:{folds} needs {folds} training texts of a class, one for each fold, but there are "
            f"{_listed(found, count, names)}. Use fewer folds, train on more texts, or leave --dev out."
        )
    rare = count < folds
    if rare.any():
        _LOG.warning(
            f"--dev cv:{folds}: of some classes there are fewer training texts than folds, "
            f"{_listed(found[rare], count[rare], names)}. What the folds say of them is little."
        )
    turn = _generator(seed, _FOLD_STREAM).permutation(len(labels_N))
    in_turn = turn[np.argsort(labels_N[turn], kind="stable")]
    dealt = in_turn[~np.isin(labels_N[in_turn], found[count == 1])]
    fold_N = np.full(len(labels_N), -1, np.int64)
    # Dealt out like cards, one class after the other.
    fold_N[dealt] = np.arange(len(dealt)) % folds
    return fold_N


def _listed(found: NDArray[np.integer], count: NDArray[np.int64], names: Sequence[str]) -> str:
    """Return how many texts there are of each class, in words."""
    if (found < 0).all():
        return str(count.sum())
    return ", ".join(f"{number} of '{names[each]}'" for each, number in zip(found, count, strict=True))


def _generator(seed: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, stream))))
