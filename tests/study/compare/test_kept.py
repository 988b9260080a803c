"""Comparisons that earlier versions wrote: the kept results are read, shown, and gone on from."""

import tarfile
from pathlib import Path

import pytest

from amix.study.compare.comparison import Comparison
from amix.study.compare.gridfile import read_grid
from amix.study.compare.outcome import Outcome
from amix.study.compare.summary import summarise
from amix.study.compare.tables import markdown
from amix.study.report.reports import report
from amix.train.run.result import KeptResult

RESULTS = Path(__file__).parents[3] / "docs" / "results"


@pytest.mark.parametrize("name", ["few", "sst2", "trecfull"])
def test_a_kept_comparison_is_read_and_shown(name: str) -> None:
    rows = Comparison.read(RESULTS / name).rows
    assert rows[0].changed_labels == [None] * len(rows[0].seeds)
    shown = markdown(rows)
    assert len([line for line in shown if line.startswith(f"| {rows[0].method} |")]) >= 1
    assert any(line.endswith("| - |") for line in shown)  # what was not compared then
    assert "minus that of none" in report(RESULTS / name)


def test_a_metric_that_came_later_is_computed_from_kept_predictions(tmp_path: Path) -> None:
    folder = RESULTS / "trecfull"
    with tarfile.open(folder / "runs.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    grid = read_grid(folder / "grid.yaml")
    outcomes = [
        Outcome(cell=cell, folder=at, result=KeptResult.read(at / "result.json").result)
        for cell in grid.cells()
        for at in [tmp_path / cell.folder]
    ]
    assert "aurc" not in outcomes[0].result.calibration["test"]
    for found, kept in zip(summarise(grid, outcomes), Comparison.read(folder).rows, strict=True):
        assert {name: found.values[name] for name in kept.values} == kept.values
        assert {name: found.differences[name] for name in kept.differences} == kept.differences
        areas = zip(found.values["aurc"], found.values["accuracy"], strict=True)
        assert all(0 < area < 1 - right for area, right in areas)
        assert ("aurc" in found.differences) == (found.method != "none")
