"""What was found to help a corpus, and why in plain words."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from amix.engine.base import canonical, publish
from amix.engine.base.errors import TrainError
from amix.study.fit.budget import budget_text
from amix.study.fit.halving import (
    BASELINE,
    FOLDS,
    Trial,
    differences,
    trials_of,
)
from amix.study.fit.interval import fold_interval
from amix.train.options.methods import Method

CHOICE = "choice.json"
_ERROR = 0.05  # an interval of 95 %


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A method in the table of a choice.

    folds: that it was tried on.  accuracy: mean over them.
    probability: of the right answer, the geometric mean over texts and folds: exp of minus the mean NLL.
    difference, low, high: of the NLL to that of `none` on the same folds, with its interval; None for `none`, and the
        interval also with one fold.
    """

    method: Method
    folds: int
    accuracy: float
    probability: float
    difference: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A method chosen for a corpus.

    method: `none`, unless another one's interval excludes 0.  p: how often rows are mixed by it, None for `none`.
    tried: the best first, `none` at the end.  sentence: the reason, for whoever never heard of NLL.
    trials: all of them.  is_final: False where they were stopped, and go on.
    """

    method: Method
    p: float | None = None
    sentence: str = ""
    tried: tuple[Tried, ...] = ()
    trials: tuple[Trial, ...] = ()
    is_final: bool = True

    def as_dict(self) -> dict[str, object]:
        """Return the choice as JSON values."""
        return asdict(self)

    def write(self, path: Path) -> None:
        """Publish the choice."""
        publish.write_atomic(path, canonical.seal(self.as_dict()))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote. Raises TrainError for a file that is damaged or of another version."""
        document: Mapping[str, Any] = canonical.unseal(path.read_bytes(), str(path), TrainError)  # JSON
        try:
            return cls(
                method=document["method"],
                p=document["p"],
                sentence=document["sentence"],
                tried=tuple(Tried(**each) for each in document["tried"]),
                trials=tuple(Trial(**each) for each in document["trials"]),
                is_final=document["is_final"],
            )
        except (KeyError, TypeError):
            raise TrainError(f"{path}: was written by another version of amix. Remove it.") from None


def concluded(found: Mapping[Method, Sequence[Trial]], p: float) -> Choice:
    """Return what follows from the trials.  p: how often the mixers mixed."""
    tried = [_tried(found, method) for method in found]
    # The one that was left when all others were dropped has the most folds.
    tried.sort(key=lambda each: (each.method == BASELINE, -each.folds, each.difference))
    best, plain = tried[0], tried[-1]
    helps = best.high is not None and best.high < 0
    shares = f"a probability of {_percent(best.probability)}"
    if helps:
        sentence = (
            f"{best.method} helps this data: of texts that a model had not seen, it gave the right answer {shares}, "
            f"where plain fine-tuning gave it {_percent(plain.probability)}, and chance does not explain so much "
            f"({best.folds} folds). So it is used."
        )
    else:
        sentence = (
            f"No way of mixing helped this data more than chance explains. The best of them, {best.method}, gave the "
            f"right answer of texts that a model had not seen {shares}, plain fine-tuning "
            f"{_percent(plain.probability)} ({best.folds} folds). So nothing is mixed."
        )
    trials = tuple(each for trials in found.values() for each in trials)
    method: Method = best.method if helps else BASELINE
    return Choice(method=method, p=p if helps else None, sentence=sentence, tried=tuple(tried), trials=trials)


def _tried(found: Mapping[Method, Sequence[Trial]], method: Method) -> Tried:
    trials = found[method]
    difference = low = high = None
    if method != BASELINE:
        each = differences(found, method)
        difference = statistics.mean(each)
        if len(each) > 1:
            # Corrected for the number of methods that were tried (Bonferroni), of which the best is looked at.
            low, high = fold_interval(each, FOLDS, 1 - _ERROR / (len(found) - 1))
    return Tried(
        method=method,
        folds=len(trials),
        accuracy=statistics.mean(each.accuracy for each in trials),
        probability=math.exp(-statistics.mean(each.nll for each in trials)),
        difference=difference,
        low=low,
        high=high,
    )


def too_short(seconds: float, budget: float) -> str:
    """Return why nothing was compared.  seconds: that a training takes."""
    trial, trials = budget_text(seconds), trials_of(1)
    enough = budget_text(1.2 * trials * seconds)
    return (
        f"--budget {budget_text(budget)} is too short to compare anything: a training takes about {trial}, and at "
        f"least {trials} are needed. So nothing is mixed. Give --budget {enough}, or train on fewer texts "
        "(--samples)."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
