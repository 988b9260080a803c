"""The result of a run, and the file in which a comparison keeps it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from amix.engine.base import canonical, publish
from amix.engine.base.errors import TrainError

Metrics = dict[str, float]  # by the metric's name


@dataclass(frozen=True, kw_only=True)
class EnsembleResult:
    """The result of the models of a run together: the mean of their probabilities.

    models: how many, that of `model/` included.  eval, calibration, temperature, scaled: as in `TrainResult`; the
        temperature divides the logits of every model.
    """

    models: int
    eval: dict[str, Metrics]
    calibration: dict[str, Metrics]
    temperature: float | None
    scaled: dict[str, Metrics]


@dataclass(frozen=True, kw_only=True)
class EpochSummary:
    """An epoch that is over, counted from 1.

    epochs: how many there are in all, unless the run ends early.
    loss: mean over its batches.  dev: metrics on the development set, None without one.  seconds: of the epoch.
    """

    epoch: int
    epochs: int
    loss: float
    dev: Metrics | None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """The result of a run.

    model: the folder that opens with `AutoModelForSequenceClassification.from_pretrained`; None where a comparison
        did not keep it.
    eval: metrics of that model per set.  dev: its metrics on the development set, None without one; with folds those
        of the training texts, each by the model that was trained without it.
    calibration: more of them per set (`metrics.calibration`).
    temperature: fitted where `dev` was measured, None without.  scaled: `calibration` of the logits divided by it,
        which is what every method should be compared with.
    ensemble: the result of several models together, None where one was trained.
    head: head spec of the relevance used for mixing, None without; with `auto` the spec that was chosen.
    largest_p: the largest share of rows to be mixed in an epoch up to that of the model, where the share followed the
        development set.
    epoch: the one the model is from, counted from 1.  seconds: of this call.
    steps: of the optimizer, in all, those of folds and of an ensemble's other models included.
    tokens: tokens that went through these models in training, counted once for each forward pass.
    changed_labels: how many training labels `label_noise` made wrong, None without it.
    """

    model: Path | None
    eval: dict[str, Metrics]
    dev: Metrics | None
    calibration: dict[str, Metrics]
    temperature: float | None
    scaled: dict[str, Metrics]
    head: str | None
    largest_p: float | None
    epoch: int
    steps: int
    tokens: int
    seconds: float
    changed_labels: int | None = None
    ensemble: EnsembleResult | None = None  # a default, for results that were kept before there was one

    def as_dict(self) -> dict[str, object]:
        """Return the result as JSON values."""
        return {**asdict(self), "model": None if self.model is None else str(self.model)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:  # JSON, as `as_dict` gives it
        """Return the result that `as_dict` was of."""
        model, ensemble = values["model"], values.get("ensemble")
        return cls(
            **{
                **values,
                "model": None if model is None else Path(model),
                "ensemble": None if ensemble is None else EnsembleResult(**ensemble),
            }
        )


@dataclass(frozen=True, kw_only=True)
class KeptResult:
    """`result.json` of a run in a comparison: its result, and the options and data that gave it."""

    identity: Mapping[str, object]
    result: TrainResult

    def write(self, path: Path) -> None:
        """Publish the file."""
        document = {"identity": dict(self.identity), "result": self.result.as_dict()}
        publish.write_atomic(path, canonical.seal(document))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote. Raises TrainError for a damaged file, and for one of another version."""
        document = canonical.unseal(path.read_bytes(), str(path), TrainError)
        try:
            return cls(identity=document["identity"], result=TrainResult.from_dict(document["result"]))
        except (KeyError, TypeError):
            raise TrainError(
                f"{path}: was written by another version of amix. Remove its folder to train that run again."
            ) from None
