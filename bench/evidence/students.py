"""Run a comparison with students: the teachers, their labels for unlabelled texts, then everything.

    python bench/evidence/students.py bench/evidence/05-students.yaml OUT --jobs 2

Run it where `caches.py` says. Teachers are the models of `none`; their labels become the caches that the students'
`train` names, made from `caches/CORPUS/unlabelled`. What is there is left as it is, so that the command can be given
again. Teachers' models are kept in OUT.
"""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measuring.command import child

from amix.study.compare.grid import Cell, Grid
from amix.study.compare.gridfile import read_grid
from amix.study.compare.runner import run_grid

TEACHER = "none"


def main(arguments: Sequence[str]) -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("grid", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--jobs", type=int, default=1, help="Runs at a time.")
    options = parser.parse_args(arguments)
    grid = read_grid(options.grid)
    teachers = replace(grid, methods={TEACHER: grid.methods[TEACHER]})
    run_grid(teachers, options.out, jobs=options.jobs, keep_models=True)
    commands = [
        [sys.executable, "-m", "amix", "label", str(options.out / cell.folder), *caches, "--json"]
        for cell in teachers.cells()
        for caches in _caches(grid, cell)
    ]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(child, commands))  # as many processes; a failed one raises here
    run_grid(grid, options.out, jobs=options.jobs)


def _caches(grid: Grid, teacher: Cell) -> list[tuple[str, str]]:
    """Return the unlabelled cache and the labelled one for each cache that a teacher's students read."""
    taught = {
        each.train
        for each in grid.cells()
        if grid.methods[each.method].train is not None
        and (each.corpus, each.samples, each.seed) == (teacher.corpus, teacher.samples, teacher.seed)
    }
    unlabelled = Path(teacher.train).parent / "unlabelled"
    return [(str(unlabelled), cache) for cache in sorted(taught)]


if __name__ == "__main__":
    main(sys.argv[1:])
