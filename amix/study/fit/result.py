"""What a fit found, and where it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from amix.loaders.shards.manifest import Manifest
from amix.study.fit.choice import Choice
from amix.study.fit.settings import FitSettings
from amix.study.report.mixed import mixing_of
from amix.study.runs import RunRecord
from amix.train.options.config import TrainConfig
from amix.train.run.result import TrainResult


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """What a fit found, and where it is.

    out: its folder.  page: the report, to be opened in a browser.  model: the folder of the classifier.
    configs, results: by name (`run`, and `baseline` where it was asked for), the options of a run and its result.
    settings: what was asked for; with the method that was found to help.
    texts: how many there are to train and to select on.  held_out: those of them that were not trained on.
    commands: those that do the same by hand.
    choice: why this method, where it was to be found out.
    """

    settings: FitSettings
    out: Path
    page: Path
    model: Path
    configs: Mapping[str, TrainConfig]
    results: Mapping[str, TrainResult]
    texts: int
    held_out: int
    commands: tuple[str, ...]
    choice: Choice | None = None

    @property
    def measured(self) -> str | None:
        """The set that the scores are of: `test`, or `dev` without one; None without either."""
        run = self.results["run"]
        return next(iter(run.eval), None if run.dev is None else "dev")

    @property
    def multi_label(self) -> bool:
        """Whether a text may have several labels."""
        return Manifest.read(self.out / "shards" / "train").multi_label

    def measured_on(self) -> str:
        """Return what the scores are of, and how far to trust them: a sentence, or two."""
        if self.measured != "dev":
            return f"Measured on {self.settings.names()['test']}."
        better = "--test takes texts that nothing was selected on."
        if self.settings.dev_is_part and self.settings.held_out is None:
            return f"Measured on the training texts, each by a model that was trained without it. {better}"
        return f"Measured on the texts that selected the epoch, so the scores are a little too good. {better}"

    def scores(self) -> dict[str, Mapping[str, float]]:
        """Return the metrics of each run by its method."""
        found: dict[str, Mapping[str, float]] = {}
        for name, result in self.results.items():
            metrics = result.dev if self.measured == "dev" else result.eval.get(self.measured or "")
            if metrics is not None:
                found[self.configs[name].method] = metrics
        return found

    def mixed(self) -> str:
        """Return what was mixed, in the sentence of the page."""
        return mixing_of(RunRecord.read(self.out / "run")).sentence

    def as_dict(self) -> dict[str, object]:
        """Return the result as JSON values."""
        return {
            "eval": self.scores(),
            "measured": self.measured,
            "mixed": self.mixed(),
            "model": str(self.model),
            "page": str(self.page),
            "out": str(self.out),
            "texts": self.texts,
            "held_out": self.held_out,
            "runs": {name: result.as_dict() for name, result in self.results.items()},
            "commands": list(self.commands),
            "choice": None if self.choice is None else self.choice.as_dict(),
        }
