"""What the models of a run say of its sets, and how good that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amix.train.run.data.sets import Sets
from amix.train.run.ensemble import Member
from amix.train.run.folds import OutOfFold
from amix.train.run.log import MetricsLog, ScoreLine
from amix.train.run.loop import Run
from amix.train.run.result import EnsembleResult
from amix.train.score.ensemble import mean_of, temperature_of
from amix.train.score.evaluate import Predictions, predictions


@dataclass(frozen=True, kw_only=True)
class Report:
    """Predictions of the model that is kept, for each set.

    on_dev: for the development set, or those of the folds for the training texts; None without either.
    others: the models that make an ensemble with it.
    """

    on_evals: Mapping[str, Predictions]
    on_dev: Predictions | None
    others: Sequence[Member]

    @classmethod
    def of(cls, run: Run, sets: Sets, folds: OutOfFold | None, others: Sequence[Member]) -> "Report":
        """Evaluate the model that a run has selected."""
        size = run.config.eval_batch_size
        on_dev = None if folds is None else folds.epochs[-1]
        if sets.dev is not None:
            on_dev = predictions(run.network, sets.dev, size)
        return cls(
            on_evals={name: predictions(run.network, each, size) for name, each in sets.evals.items()},
            on_dev=on_dev,
            others=[*(() if folds is None else folds.members), *others],
        )

    @property
    def of_ensemble(self) -> dict[str, Predictions]:
        """What the ensemble says of each set; nothing where there is none."""
        return {name: mean_of(self._members(name)) for name in self.on_evals} if self.others else {}

    def log(self, log: MetricsLog, step: int, epoch: int) -> None:
        """Log the scores on the evaluation sets."""
        for name, found in self.on_evals.items():
            log.score(ScoreLine(step=step, epoch=epoch, kind="eval", name=name, metrics=found.report()))
        for name, found in self.of_ensemble.items():
            log.score(ScoreLine(step=step, epoch=epoch, kind="ensemble", name=name, metrics=found.report()))

    def scores(self) -> dict[str, Any]:
        """Return the fields of a `TrainResult` that say how good the predictions are."""
        temperature = temperature_of([self.on_dev])
        return {
            "eval": {name: each.report() for name, each in self.on_evals.items()},
            "dev": None if self.on_dev is None else self.on_dev.report(),
            "calibration": {name: each.calibration() for name, each in self.on_evals.items()},
            "temperature": temperature,
            "scaled": {}
            if temperature is None
            else {name: each.calibration(temperature) for name, each in self.on_evals.items()},
            "ensemble": self._ensemble() if self.others else None,
        }

    def _ensemble(self) -> EnsembleResult:
        """Return the result of the ensemble."""
        temperature = temperature_of([self.on_dev, *(each.on_dev for each in self.others)])
        found, scaled = self.of_ensemble, {}
        if temperature is not None:
            scaled = {name: mean_of(self._members(name), temperature).calibration() for name in self.on_evals}
        return EnsembleResult(
            models=1 + len(self.others),
            eval={name: each.report() for name, each in found.items()},
            calibration={name: each.calibration() for name, each in found.items()},
            temperature=temperature,
            scaled=scaled,
        )

    def _members(self, name: str) -> list[Predictions]:
        """Return what each model of the ensemble says of a set."""
        return [self.on_evals[name], *(each.on_evals[name] for each in self.others)]
