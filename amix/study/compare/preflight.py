"""Every run of a comparison is checked before the first one starts, which may take hours."""

from collections.abc import Sequence
from dataclasses import replace

from amix.engine.base.errors import AmixError
from amix.engine.base.once import said_once
from amix.study.compare.grid import Cell, Grid
from amix.train.run.check import Checker


@said_once()
def check_cells(grid: Grid, cells: Sequence[Cell]) -> int:
    """Raise the AmixError that a run would end with before its first step, with the corpus and the label of the run.

    Runs that differ in their seeds only are checked once, and what is warned of is said once for all runs.
    Returns about how many bytes of memory the largest run will need.
    """
    most = 0
    checkers: dict[tuple[str, str], Checker] = {}
    seen = set()
    for cell in cells:
        config = replace(cell.config, seed=0, subset_seed=0)
        if (cell.corpus, cell.train, config, cell.dev) in seen:
            continue
        seen.add((cell.corpus, cell.train, config, cell.dev))
        caches = (cell.train, cell.corpus)
        if caches not in checkers:
            checkers[caches] = Checker(cell.train, grid.model, list(grid.corpora[cell.corpus].evals.items()))
        checker = checkers[caches]
        try:
            most = max(most, checker.check(config, cell.dev))
        except AmixError as problem:
            raise type(problem)(f"{cell.corpus}, {cell.method}: {problem} No run was started.") from None
    return most
