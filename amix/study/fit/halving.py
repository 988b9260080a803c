"""Which method is tried on which fold: successive halving within a budget of time."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from amix.train.options.methods import Method

BASELINE: Method = "none"
# Those that helped most often come first, for budgets that allow fewer.
MIXERS: tuple[Method, ...] = ("attentionmix", "wordmixup", "tmix", "sentencemixup", "ssmix")
FOLDS = 5
_FEWEST, _MOST = FOLDS, 20  # folds that the last method left is tried on: one deal at least


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A method on one fold.

    unit: the fold, counted on through the deals: the second deal begins at `FOLDS`.
    nll, accuracy: of the texts that were held out.  seconds: of the training.
    """

    method: Method
    unit: int
    nll: float
    accuracy: float
    seconds: float


def longest_trial(budget: float) -> float:
    """Return the seconds that a training may take for one method at least to be compared."""
    return budget / trials_of(1)


def halve(
    trial: Callable[[Method, int], Trial], budget: float, mixers: Sequence[Method] = MIXERS
) -> dict[Method, list[Trial]]:
    """Return the trials of every method that was tried, those of `none` first.

    All methods of a round are tried on the same folds. After it the better half is kept (Jamieson and Talwalkar 2016),
    by the mean difference in NLL to `none`, and every round has an equal share of the budget. `none` is in all rounds.
    trial: tries a method on a unit.  budget: in seconds of trials. A trial that was begun is finished.
    mixers: the methods to try, at least one; with a small budget only the first of them.
    """
    first = trial(BASELINE, 0)
    found: dict[Method, list[Trial]] = {BASELINE: [first]}
    number = max(
        [count for count in range(1, len(mixers) + 1) if trials_of(count) * first.seconds <= budget] or [1]
    )
    alive = list(mixers[:number])
    rounds = _rounds(number)
    unit = 0
    for round_ in range(rounds):
        limit = budget * (round_ + 1) / rounds
        while unit < _MOST:
            for method in (BASELINE, *alive):
                if len(found.setdefault(method, [])) == unit:
                    found[method].append(trial(method, unit))
            unit += 1
            sweep = sum(
                statistics.mean(each.seconds for each in found[method]) for method in (BASELINE, *alive)
            )
            if spent(found) + sweep > limit:
                break
        if len(alive) > 1:
            alive = sorted(alive, key=lambda method: statistics.mean(differences(found, method)))
            alive = alive[: math.ceil(len(alive) / 2)]
    return found


def spent(found: Mapping[Method, Sequence[Trial]]) -> float:
    """Return the seconds of all trials."""
    return sum(each.seconds for trials in found.values() for each in trials)


def differences(found: Mapping[Method, Sequence[Trial]], method: Method) -> list[float]:
    """Return for each unit the NLL of a method minus that of `none`: below 0 the method is better."""
    return [each.nll - plain.nll for each, plain in zip(found[method], found[BASELINE], strict=False)]


def _rounds(mixers: int) -> int:
    """Return the rounds until one mixer is left, the last one, in which that is tried further, included."""
    return 1 + math.ceil(math.log2(mixers))


def trials_of(mixers: int) -> int:
    """Return how many trials it takes to compare so many mixers with `none`."""
    alive, count = mixers, 0
    for _ in range(_rounds(mixers)):
        count += alive + 1
        alive = math.ceil(alive / 2)
    return count + 2 * max(0, _FEWEST - _rounds(mixers))
