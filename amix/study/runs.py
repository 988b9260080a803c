"""A run's folder, read: its options and inputs, and its log. Nothing heavy is imported here."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from amix.engine.base.errors import ConfigError, TrainError
from amix.engine.base.kinds import NAMES, described
from amix.train.options.config import TrainConfig
from amix.train.options.file import Inputs, read_config
from amix.train.run.files import CONFIG, DEV, METRICS, PREDICTIONS
from amix.train.run.log import Line, read_log

if TYPE_CHECKING:
    from amix.train.score.evaluate import Predictions

Predictor = Literal["eval", "ensemble"]  # the model that is kept, or the ensemble around it


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The folder of a run that `amix train` wrote.

    config: every option.  shards: what it was trained on.  inputs: all that it was made from.
    written: the text of `config.yaml`, which begins with the versions that the run had.  log: `metrics.jsonl`.
    """

    folder: Path
    config: TrainConfig
    shards: str
    inputs: Inputs
    written: str
    log: tuple[Line, ...]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the folder of a run. Raises TrainError naming what is missing or damaged."""
        try:
            written = (folder / CONFIG).read_text(encoding="utf-8")
            log = tuple(read_log(folder / METRICS))
            options, inputs = read_config(folder / CONFIG)
            config = TrainConfig(**options)
            if inputs.shards is None or inputs.model is None:
                raise ConfigError(f"{CONFIG} does not say which shards and model it was trained on")
        except OSError as problem:
            found = described(folder)
            what = f"is {found}, not a run" if found not in (None, NAMES["run"]) else "is not a run"
            raise TrainError(
                f"{folder}: {what} ({problem.filename}: {problem.strerror}). Name what 'amix train' or "
                "'amix compare' wrote."
            ) from None
        except (ConfigError, ValueError, TypeError) as problem:
            raise TrainError(
                f"{folder}: its log or options cannot be read ({problem}). They are damaged, or of another version "
                "of amix; train it again."
            ) from None
        return cls(
            folder=folder, config=config, shards=inputs.shards, inputs=inputs, written=written, log=log
        )

    def as_dict(self) -> dict[str, object]:
        """Return inputs and options as JSON values, as `config.yaml` holds them."""
        return {**self.inputs.as_dict(), **self.config.as_dict()}


def load_predictions(folder: Path, name: str, of: Predictor = "eval") -> "Predictions":
    """Return the predictions of a run's model, or of its ensemble, for an evaluation set.

    Raises TrainError for a missing or damaged file.
    """
    from amix.train.score.evaluate import Predictions

    return Predictions.load(folder / PREDICTIONS / f"{of}-{name}.safetensors")


def load_dev_predictions(folder: Path) -> "Predictions | None":
    """Return the predictions of a run for the set that selected its epoch, None where there was no such set."""
    from amix.train.score.evaluate import Predictions

    path = folder / PREDICTIONS / DEV
    return Predictions.load(path) if path.is_file() else None


def predicted_sets(folder: Path, of: Predictor = "eval") -> list[str]:
    """Return the names of the evaluation sets that a run kept predictions for, of its model or of its ensemble."""
    found = sorted((folder / PREDICTIONS).glob(f"{of}-*.safetensors"))
    return [path.stem.removeprefix(f"{of}-") for path in found]
