"""A run's folder, read: its options and inputs, and its log. Nothing heavy is imported here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from amix.engine.base.errors import ConfigError, TrainError
from amix.train.options.config import TrainConfig
from amix.train.options.file import read_config
from amix.train.run.files import CONFIG, DEV, METRICS, PREDICTIONS

if TYPE_CHECKING:
    from amix.train.score.evaluate import Predictions

_KINDS = ("head", "dev", "eval")  # a line without one is about the loss


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """A line of `metrics.jsonl`.

    kind: what it is about: the training loss, the head that `auto` chose, or the metrics of a set.
    name: of the set.  head: the head spec.  values: numbers by name: `loss`, `lr`, `accuracy`, ...
    """

    step: int
    epoch: int
    kind: Literal["loss", "head", "dev", "eval"]
    name: str | None
    head: str | None
    values: Mapping[str, float]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what a line says. Raises ValueError, TypeError or KeyError for a damaged one."""
        fields = dict(json.loads(text))
        kind = fields.pop("kind", "loss")
        if kind not in ("loss", *_KINDS):
            raise ValueError(f"{METRICS} has a line of the unknown kind {kind!r}")
        step, epoch = int(fields.pop("step")), int(fields.pop("epoch"))
        name, head = fields.pop("name", None), fields.pop("head", None)
        values = {key: float(value) for key, value in fields.items()}
        return cls(step=step, epoch=epoch, kind=kind, name=name, head=head, values=values)

    def as_dict(self) -> dict[str, object]:
        """Return the line as JSON values, as it is written."""
        named = {"kind": None if self.kind == "loss" else self.kind, "name": self.name, "head": self.head}
        given = {key: value for key, value in named.items() if value is not None}
        return {"step": self.step, "epoch": self.epoch, **given, **self.values}


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The folder of a run that `amix train` wrote.

    config: every option.  shards, model, dev, evals: its inputs, as they were named.
    written: the text of `config.yaml`, which begins with the versions that the run had.  log: `metrics.jsonl`.
    """

    folder: Path
    config: TrainConfig
    shards: str
    model: str
    dev: str | None
    evals: Mapping[str, str]
    written: str
    log: tuple[LogLine, ...]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the folder of a run. Raises TrainError naming what is missing or damaged."""
        try:
            written = (folder / CONFIG).read_text(encoding="utf-8")
            lines = (folder / METRICS).read_text(encoding="utf-8").splitlines()
        except OSError as problem:
            raise TrainError(
                f"{folder}: is not a run ({problem.filename}: {problem.strerror}). Name what 'amix train' or "
                "'amix compare' wrote."
            ) from None
        except ValueError as problem:
            raise _damaged(folder, problem) from None
        try:
            options, inputs = read_config(folder / CONFIG)
            return cls(
                folder=folder,
                config=TrainConfig(**options),
                shards=inputs["shards"],
                model=inputs["model"],
                dev=inputs["dev"],
                evals=inputs["eval"],
                written=written,
                log=tuple(map(LogLine.parse, lines)),
            )
        except (ConfigError, ValueError, TypeError, KeyError) as problem:
            raise _damaged(folder, problem) from None

    def as_dict(self) -> dict[str, object]:
        """Return inputs and options as JSON values, as `config.yaml` holds them."""
        inputs = {"shards": self.shards, "model": self.model, "dev": self.dev, "eval": dict(self.evals)}
        return {**inputs, **self.config.as_dict()}


def load_predictions(folder: Path, name: str) -> "Predictions":
    """Return the predictions of a run for an evaluation set. Raises TrainError for a missing or damaged file."""
    from amix.train.score.evaluate import Predictions

    return Predictions.load(folder / PREDICTIONS / f"eval-{name}.safetensors")


def load_dev_predictions(folder: Path) -> "Predictions | None":
    """Return the predictions of a run for the set that selected its epoch, None where there was no such set."""
    from amix.train.score.evaluate import Predictions

    path = folder / PREDICTIONS / DEV
    return Predictions.load(path) if path.is_file() else None


def predicted_sets(folder: Path) -> list[str]:
    """Return the names of the evaluation sets that a run kept predictions for."""
    found = sorted((folder / PREDICTIONS).glob("eval-*.safetensors"))
    return [path.stem.removeprefix("eval-") for path in found]


def _damaged(folder: Path, problem: Exception) -> TrainError:
    return TrainError(f"{folder}: its log or options are damaged ({problem}). Train it again.")
