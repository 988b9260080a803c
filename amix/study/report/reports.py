"""The page about a folder: a run or a comparison."""

from pathlib import Path

from amix.study.compare.comparison import COMPARISON, Comparison, written_grid
from amix.study.report.comparison import comparison_page
from amix.study.report.run import run_page
from amix.study.runs import RunRecord


def report(folder: Path, baseline: Path | None = None) -> str:
    """Return the page about a run or a comparison. Raises TrainError for another folder.

    baseline: a run without mixing, to stand beside a run.
    """
    if (folder / COMPARISON).is_file():
        return comparison_page(folder, Comparison.read(folder), written_grid(folder))
    return run_page(RunRecord.read(folder), None if baseline is None else RunRecord.read(baseline))
