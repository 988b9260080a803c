"""The document of a comparison, `comparison.json`: the grid, and a row for each method on each set."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from amix.engine.base import canonical, publish
from amix.engine.base.errors import ConfigError, TrainError
from amix.study.compare.grid import Grid
from amix.study.compare.gridfile import as_document, grid_of
from amix.study.compare.statistics import Difference

COMPARISON = "comparison.json"
GRID = "grid.yaml"


@dataclass(frozen=True, kw_only=True)
class Row:
    """The runs of one method on one set.

    samples: number of training texts, None = all.  seeds: one for each run.
    values: per metric a number for each seed; `scaled nll` is after temperature scaling.
    spent: steps, tokens and seconds, each a number for each seed.
    largest_p: for each seed the largest `p` that `p auto` reached, None without it.
    changed_labels: for each seed how many training labels `label_noise` made wrong, None without it.
    differences: to the baseline, by metric.  corrected: their p-values as `holm` corrects them.
    """

    corpus: str
    evaluated: str
    samples: int | None
    method: str
    seeds: tuple[int, ...]
    values: Mapping[str, Sequence[float]]
    spent: Mapping[str, Sequence[float]]
    largest_p: Sequence[float | None]
    changed_labels: Sequence[int | None]
    differences: Mapping[str, Difference]
    corrected: Mapping[str, float]

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Self:  # Any: JSON values
        """Return the row that `as_dict` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        found = given["differences"]
        return cls(
            corpus=given["corpus"],
            evaluated=given["eval"],
            samples=given["samples"],
            method=given["method"],
            seeds=tuple(given["seeds"]),
            values=given["values"],
            spent=given["spent"],
            largest_p=given["largest_p"],
            changed_labels=given.get("changed_labels", [None] * len(given["seeds"])),  # older ones have none
            differences={metric: _difference_from(each) for metric, each in found.items()},
            corrected={
                metric: each["p_holm"] for metric, each in found.items() if each["p_holm"] is not None
            },
        )

    def as_dict(self) -> dict[str, object]:
        """Return the row as JSON values."""
        return {
            "corpus": self.corpus,
            "eval": self.evaluated,
            "samples": self.samples,
            "method": self.method,
            "seeds": list(self.seeds),
            "values": dict(self.values),
            "spent": dict(self.spent),
            "largest_p": list(self.largest_p),
            "changed_labels": list(self.changed_labels),
            "differences": {
                metric: {
                    "mean": each.mean,
                    "interval": [each.low, each.high],
                    "p": each.p,
                    "p_holm": self.corrected.get(metric),
                    "seeds": each.seeds,
                }
                for metric, each in self.differences.items()
            },
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The results of all runs of a grid."""

    grid: Grid
    rows: tuple[Row, ...]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read `comparison.json` in `folder`. Raises TrainError when it is missing or damaged."""
        path = folder / COMPARISON
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            rows = tuple(map(Row.from_dict, document["rows"]))
            return cls(grid=grid_of(document["grid"], path), rows=rows)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError) as problem:
            raise TrainError(
                f"{path}: cannot be read ({problem}). Run 'amix compare' again to write it anew."
            ) from None

    def write(self, folder: Path) -> None:
        """Publish `comparison.json` in `folder`."""
        document = {"grid": as_document(self.grid), "rows": [row.as_dict() for row in self.rows]}
        publish.write_text(folder / COMPARISON, canonical.text(document) + "\n")


def written_grid(folder: Path) -> str:
    """Return the text of `grid.yaml`, which begins with the versions that the runs had. Raises TrainError."""
    try:
        return (folder / GRID).read_text(encoding="utf-8")
    except (OSError, ValueError) as problem:
        raise TrainError(
            f"{folder / GRID}: cannot be read ({problem}). Run 'amix compare' again to write it anew."
        ) from None


def _difference_from(given: Mapping[str, Any]) -> Difference:  # Any: JSON values
    low, high = given["interval"]
    return Difference(mean=given["mean"], low=low, high=high, p=given["p"], seeds=given["seeds"])
