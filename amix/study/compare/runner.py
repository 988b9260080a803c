"""Runs the cells of a grid that have no outcome yet, several at a time, each in a process of its own."""

import contextlib
import functools
import os
import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from multiprocessing import connection
from pathlib import Path

import torch

from amix.engine.base import place, publish
from amix.engine.base.devices import parse_device
from amix.engine.base.errors import AmixError, StorageError, TrainError
from amix.engine.base.machine import available_cores, available_memory
from amix.engine.base.processes import lock_folder
from amix.engine.base.stopping import signals_end, undisturbed
from amix.study.compare.grid import Cell, Grid
from amix.study.compare.outcome import Identity, Outcome, read_outcome
from amix.study.compare.preflight import check_cells
from amix.study.compare.sizing import sensible_jobs
from amix.study.compare.worker import Task, Worker
from amix.study.shards import read_manifest
from amix.train.options.dev import parse_dev
from amix.train.options.identity import identity_of
from amix.train.run.result import TrainResult

_SHOWN = 5  # failed runs that a message names


def run_grid(
    grid: Grid,
    out: Path,
    *,
    jobs: int | None = None,
    keep_models: bool = False,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Return the outcomes of all cells, in the order of the grid; cells that have one in `out` are not run again.

    jobs: runs at a time; each gets its share of the cores. None: one for each core as far as memory allows, and one
        where they use a GPU.
    on_outcome: called for each, those of earlier calls first.
    Raises AmixError for an outcome of other settings, for a run that cannot start, and while another process runs a
    comparison in `out`; then no run is started. Raises FailedRunsError when all runs are over and some of them failed;
    StorageError as soon as `out` cannot be written to. Finished runs are kept.
    """
    place.require_writable(out)
    identities = _Identities(grid)
    outcomes: dict[Path, Outcome] = {}
    failures: dict[Path, AmixError] = {}
    missing = []
    for cell in grid.cells():
        outcome = read_outcome(out, cell, identities.of(cell))
        if outcome is None:
            missing.append(cell)
        else:
            outcomes[cell.folder] = outcome
            on_outcome(outcome)
    if missing:
        needed = check_cells(grid, missing)
        jobs = min(jobs or _sensible_jobs(missing, needed), len(missing))
        place.make_folder(out)
        lock = lock_folder(out, "running a comparison", TrainError)
        runs = _run(grid, missing, identities, out, jobs, keep_models)
        try:
            with signals_end(lambda name: runs_are_kept(out, name)), contextlib.closing(runs):
                publish.sweep(out)
                for stage in out.glob("runs/*/*/*/.seed-*.run"):
                    shutil.rmtree(stage)  # of runs that were killed
                for cell, ended in runs:
                    if isinstance(ended, AmixError):
                        failures[cell.folder] = ended
                        continue
                    outcomes[cell.folder] = ended
                    on_outcome(ended)
        finally:
            os.close(lock)
    finished = [outcomes[cell.folder] for cell in grid.cells() if cell.folder in outcomes]
    if failures:
        raise FailedRunsError(failures, finished)
    return finished


class FailedRunsError(TrainError):
    """Runs of a comparison that failed, when all others are over.  finished: their outcomes, in order."""

    def __init__(self, failures: Mapping[Path, AmixError], finished: Sequence[Outcome]) -> None:
        self.finished = finished
        runs = len(failures) + len(finished)
        shown = [f"  {folder}: {problem}" for folder, problem in list(failures.items())[:_SHOWN]]
        if len(failures) > _SHOWN:
            shown.append(f"  and {len(failures) - _SHOWN} more")
        super().__init__(
            "\n".join(
                [
                    f"{len(failures)} of {runs} runs failed; the others are finished and kept:",
                    *shown,
                    "Run the same command again to repeat these alone.",
                ]
            )
        )


def _sensible_jobs(cells: Sequence[Cell], needed: int) -> int:
    threads = max(cell.config.threads or 1 for cell in cells)
    devices = {parse_device(cell.config.device or "cuda") for cell in cells}
    if devices != {"cpu"} and torch.cuda.is_available():  # runs share a GPU only where that is asked for
        return 1
    return sensible_jobs(max(1, available_cores() // threads), available_memory(), needed)


def runs_are_kept(out: Path, name: str) -> str:
    """Return the message about a comparison that a signal of this name ended."""
    return f"{out}: ended by {name}. Finished runs are kept: run the same command again to go on."


def _run(
    grid: Grid, cells: Sequence[Cell], identities: "_Identities", out: Path, jobs: int, keep_models: bool
) -> Generator[tuple[Cell, Outcome | AmixError]]:
    """Yield each cell with its outcome, or the error that its run ended with, as they come.

    Raises StorageError: what one run cannot write, the next one cannot either.
    """
    threads = max(1, available_cores() // jobs)
    waiting = list(reversed(cells))
    workers = [Worker(threads) for _ in range(jobs)]

    def give(worker: Worker) -> None:
        worker.cell = cell = waiting.pop() if waiting else None
        if cell is not None:
            if not worker.process.is_alive():
                workers[workers.index(worker)] = worker = Worker(threads)
                worker.cell = cell
            identity = identities.of(cell)
            worker.pipe.send(Task(grid.model, grid.corpora[cell.corpus], cell, identity, out, keep_models))

    try:
        for worker in workers:
            give(worker)
        while busy := [worker for worker in workers if worker.cell is not None]:
            for pipe in connection.wait([worker.pipe for worker in busy]):
                worker = next(worker for worker in busy if worker.pipe is pipe)
                cell = worker.cell
                assert cell is not None
                answer = worker.answer()
                if isinstance(answer, StorageError):
                    raise answer
                if isinstance(answer, TrainResult):
                    yield cell, Outcome(cell=cell, folder=out / cell.folder, result=answer)
                else:
                    yield cell, answer
                give(worker)
    finally:
        with undisturbed():
            for worker in workers:
                worker.dismiss()
            for worker in workers:
                worker.end()


class _Identities:
    """What decides each run: its options, the model, and what its shards were made of.

    Not the shards' bytes: a comparison can be continued on another machine, whose relevance differs in the last bits.
    That changes the figures no more than the rounding in training on that machine does.
    """

    def __init__(self, grid: Grid) -> None:
        from amix.train.model.classifier import model_identity

        self._corpora, self._model = grid.corpora, model_identity(grid.model)
        self._origin = functools.cache(lambda folder: read_manifest(folder).portable_sha256)

    def of(self, cell: Cell) -> Identity:
        evals = self._corpora[cell.corpus].evals
        sets = {"shards": cell.train} | {f"eval {name}": folder for name, folder in evals.items()}
        origins = {name: self._origin(folder) for name, folder in sets.items()}
        match parse_dev(cell.dev):
            case None:
                pass
            case str(folder):
                origins["dev"] = self._origin(folder)
            case part:
                origins["dev"] = str(part)
        return {"model": self._model, **origins, **identity_of(cell.config)}
