"""What a report is about, read from disk: a run, or a comparison."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from amix.engine.base.errors import TrainError
from amix.study.compare.summary import GRID
from amix.train.run.folder import CONFIG, DEV, PREDICTIONS
from amix.train.run.log import METRICS
from amix.train.score.evaluate import Predictions

COMPARISON = "comparison.json"


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run's folder.

    config: every option and input.  written: their file, with the versions that the run had.
    log: the lines of `metrics.jsonl`.  said: by evaluation set.  dev: of the set that selected, if one did.
    """

    folder: Path
    config: dict[str, Any]
    written: str
    log: list[dict[str, Any]]
    said: dict[str, Predictions]
    dev: Predictions | None


def read_run(folder: Path) -> RunRecord:
    """Read the folder of a run that `amix train` finished. Raises TrainError naming what is missing or damaged."""
    try:
        written = (folder / CONFIG).read_text(encoding="utf-8")
        config = dict(yaml.safe_load(written))
        log = [json.loads(line) for line in (folder / METRICS).read_text(encoding="utf-8").splitlines()]
    except OSError as problem:
        raise TrainError(
            f"{folder}: is no run ({problem.filename}: {problem.strerror}). Name what 'amix train' or 'amix compare' "
            "wrote."
        ) from None
    except (ValueError, TypeError, yaml.YAMLError) as problem:
        raise TrainError(f"{folder}: its log or options are damaged ({problem}). Train again.") from None
    found = sorted((folder / PREDICTIONS).glob("eval-*.safetensors"))
    dev = folder / PREDICTIONS / DEV
    return RunRecord(
        folder=folder,
        config=config,
        written=written,
        log=log,
        said={path.stem.removeprefix("eval-"): Predictions.load(path) for path in found},
        dev=Predictions.load(dev) if dev.is_file() else None,
    )


def read_comparison(folder: Path) -> dict[str, Any]:
    """Return `comparison.json`, with the text of `grid.yaml` as `written`. Raises TrainError when it is damaged."""
    path = folder / COMPARISON
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        document["rows"], document["grid"]
        document["written"] = (folder / GRID).read_text(encoding="utf-8")
    except (OSError, ValueError, KeyError) as problem:
        raise TrainError(f"{path}: cannot be read ({problem}). Give 'amix compare' again.") from None
    return document
