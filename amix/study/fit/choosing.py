"""What helps a corpus: mixing methods against plain fine-tuning, by cross-validation on its training texts."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from amix.engine.base.errors import AmixError
from amix.study.fit.choice import Choice, concluded, too_short
from amix.study.fit.halving import BASELINE, FOLDS, MIXERS, Trial, halve, longest_trial
from amix.train.options.auto import EVEN
from amix.train.options.config import TrainConfig
from amix.train.options.dev import Folds
from amix.train.options.methods import Method
from amix.train.run.check import Checker
from amix.train.run.trial import TooSlowError, train_fold


def choose(
    shards: Path,
    model: str,
    config: TrainConfig,
    budget: float,
    path: Path,
    on_trial: Callable[[str], None] = lambda what: None,
) -> Choice:
    """Try `none` and the mixers on folds of the training texts, and return what to use.

    config: of training; its `p`, else half of the rows, holds for every mixer.  budget: seconds, of trials alone.
    path: where the choice is kept, trial by trial. A call that was stopped goes on.  on_trial: called before each.
    Raises AmixError as `train` does.
    """
    before = Choice.read(path) if path.is_file() else None
    if before is not None and before.is_final:
        return before
    kept = {} if before is None else {(each.method, each.unit): each for each in before.trials}

    def trial(method: Method, unit: int) -> Trial:
        if (method, unit) not in kept:
            seconds = sum(each.seconds for each in kept.values())
            on_trial(f"trying {method} on fold {unit + 1} ({seconds:,.0f} of {budget:,.0f} seconds are used)")
            deal, fold = divmod(unit, FOLDS)
            options = replace(
                tried_as(config, method), seed=config.seed + deal, subset_seed=config.subset_seed + deal
            )
            # The first training tells whether the budget is enough for any; what is begun later is finished.
            limit = longest_trial(budget) if not kept else math.inf
            found = train_fold(shards, model, options, Folds(FOLDS), fold, limit)
            scores = found.predictions.report()
            kept[method, unit] = Trial(
                method=method,
                unit=unit,
                nll=scores["nll"],
                accuracy=scores["accuracy"],
                seconds=found.seconds,
            )
            unfinished = Choice(method=BASELINE, trials=tuple(kept.values()), is_final=False)
            unfinished.write(path)
        return kept[method, unit]

    mixers = _usable(shards, model, config, on_trial)
    if not mixers:
        return Choice(method=BASELINE, sentence="No method can mix with this model and these options.")
    try:
        choice = concluded(halve(trial, budget, mixers), mixed_share(config))
    except TooSlowError as problem:
        choice = Choice(method=BASELINE, sentence=too_short(problem.seconds, budget))
    choice.write(path)
    return choice


def _usable(shards: Path, model: str, config: TrainConfig, tell: Callable[[str], None]) -> list[Method]:
    """Return the mixers that can be trained. Raises AmixError where not even `none` can."""
    checker = Checker(shards, model, ())
    checker.check(tried_as(config, BASELINE), None)
    usable: list[Method] = []
    for method in MIXERS:
        try:
            checker.check(tried_as(config, method), None)
        except AmixError as problem:
            tell(f"{method} is left out: {problem}")
        else:
            usable.append(method)
    return usable


def tried_as(config: TrainConfig, method: Method) -> TrainConfig:
    """Return the options that a method is tried with."""
    # The last epoch is judged, so there is nothing that patience could wait for.
    return replace(
        config, method=method, p=None if method == BASELINE else mixed_share(config), patience=None
    )


def mixed_share(config: TrainConfig) -> float:
    """Return how often the mixers mix in trials: as `config` says, else half of the rows."""
    return config.p if isinstance(config.p, float) else EVEN
