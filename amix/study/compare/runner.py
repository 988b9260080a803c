"""Runs the cells of a grid that have no outcome yet, several at a time, each in a process of its own."""

import contextlib
import functools
import os
import shutil
import threading
import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context
from pathlib import Path

from amix.engine.base import publish
from amix.engine.base.errors import AmixError, TrainError
from amix.engine.base.machine import available_cores
from amix.engine.base.processes import become_worker, lock_folder, start_worker
from amix.engine.base.stopping import signals_end, undisturbed
from amix.study.compare.grid import Cell, Corpus, Grid
from amix.study.compare.outcome import Identity, Outcome, read_outcome, write_outcome
from amix.study.shards import read_manifest
from amix.train.options.dev import parse_dev
from amix.train.options.identity import identity_of
from amix.train.run.files import ENSEMBLE, FOLDS, MODEL, TENSORBOARD
from amix.train.run.result import TrainResult
from amix.train.run.train import train

# What `amix train` writes that a comparison does not need; the models would fill a disk, and are kept on request.
_LARGE = (MODEL, ENSEMBLE)
_SPARE = (TENSORBOARD, FOLDS)
_FAREWELL = 10.0  # seconds that a worker gets to end by itself


def run_grid(
    grid: Grid,
    out: Path,
    *,
    jobs: int = 1,
    keep_models: bool = False,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Return the outcomes of all cells, in the order of the grid; cells that have one in `out` are not run again.

    jobs: runs at a time; each gets its share of the cores. on_outcome: called for each, those of earlier calls first.
    Raises TrainError for an outcome of other settings, for a run that fails, and while another process runs a
    comparison in `out`; finished runs are kept.
    """
    identities = _Identities(grid)
    outcomes: dict[Path, Outcome] = {}
    missing = []
    for cell in grid.cells():
        outcome = read_outcome(out, cell, identities.of(cell))
        if outcome is None:
            missing.append(cell)
        else:
            outcomes[cell.folder] = outcome
            on_outcome(outcome)
    if missing:
        out.mkdir(parents=True, exist_ok=True)
        lock = lock_folder(out, "running a comparison", TrainError)
        runs = _run(grid, missing, identities, out, jobs, keep_models)
        try:
            with signals_end(lambda name: runs_are_kept(out, name)), contextlib.closing(runs):
                publish.sweep(out)
                for stage in out.glob("runs/*/*/*/.seed-*.run"):
                    shutil.rmtree(stage)  # of runs that were killed
                for outcome in runs:
                    outcomes[outcome.cell.folder] = outcome
                    on_outcome(outcome)
        finally:
            os.close(lock)
    return [outcomes[cell.folder] for cell in grid.cells()]


def runs_are_kept(out: Path, name: str) -> str:
    """Return the message about a comparison that a signal of this name ended."""
    return f"{out}: ended by {name}. Finished runs are kept: run the same command again to go on."


def _run(
    grid: Grid, cells: Sequence[Cell], identities: "_Identities", out: Path, jobs: int, keep_models: bool
) -> Generator[Outcome]:
    """Yield outcomes as they come."""
    if not cells:
        return
    jobs = min(jobs, len(cells))
    threads = max(1, available_cores() // jobs)
    waiting = list(reversed(cells))
    workers = [_Worker(threads) for _ in range(jobs)]

    def give(worker: _Worker) -> None:
        worker.cell = cell = waiting.pop() if waiting else None
        if cell is not None:
            identity = identities.of(cell)
            worker.pipe.send(_Task(grid.model, grid.corpora[cell.corpus], cell, identity, out, keep_models))

    try:
        for worker in workers:
            give(worker)
        while busy := [worker for worker in workers if worker.cell is not None]:
            for pipe in connection.wait([worker.pipe for worker in busy]):
                worker = next(worker for worker in busy if worker.pipe is pipe)
                cell = worker.cell
                assert cell is not None
                try:
                    answer = worker.pipe.recv()
                except (EOFError, ConnectionResetError):
                    worker.process.join()
                    raise TrainError(
                        f"{cell.folder}: its process died (exit code {worker.process.exitcode}; -9 means that it was "
                        "killed, often because memory ran out). Finished runs are kept: run the same command again, "
                        "with fewer --jobs if memory is short."
                    ) from None
                if isinstance(answer, BaseException):
                    raise answer
                yield Outcome(cell=cell, folder=out / cell.folder, result=answer)
                give(worker)
    finally:
        with undisturbed():
            for worker in workers:
                worker.pipe.close()  # for an idle worker the end of its work
                if worker.cell is not None:
                    worker.process.terminate()
            for worker in workers:
                worker.process.join(_FAREWELL)
                worker.process.kill()
                worker.process.join()


@dataclass(frozen=True)
class _Task:
    """What a worker needs for a cell.  root: the folder of the comparison."""

    model: str
    corpus: Corpus
    cell: Cell
    identity: Identity
    root: Path
    keeps_model: bool


class _Worker:
    """A process that runs cells, and the pipe to it.

    Spawned, since torch's threads do not survive a fork; kept for the next cell, since imports take seconds.
    """

    def __init__(self, threads: int) -> None:
        context = get_context("spawn")
        self.pipe, far = context.Pipe()
        self.cell: Cell | None = None
        self.process = context.Process(target=_work, args=(far, threads), daemon=True)
        start_worker(self.process)
        far.close()  # or the end of the process would not end the pipe


def _work(pipe: connection.Connection, threads: int) -> None:
    become_worker()
    import torch
    from tqdm import tqdm

    # By default a bar's lock is one between processes: a worker that is ended would leave its semaphore behind.
    tqdm.set_lock(threading.RLock())
    torch.set_num_threads(threads)
    while True:
        try:
            task: _Task = pipe.recv()
        except EOFError:  # the parent is gone
            return
        try:
            pipe.send(_run_cell(task))
        except AmixError as problem:
            pipe.send(problem)
        except Exception as problem:
            trace = traceback.format_exc()
            pipe.send(TrainError(f"{task.cell.folder}: {type(problem).__name__}: {problem}\n{trace}"))


def _run_cell(task: _Task) -> TrainResult:
    cell, corpus = task.cell, task.corpus
    folder = task.root / cell.folder
    stage = folder.with_name(f".{folder.name}.run")
    try:
        result = train(
            cell.train, stage, task.model, cell.config, dev=cell.dev, evals=list(corpus.evals.items())
        )
    except AmixError as problem:
        raise TrainError(f"{cell.folder}: {problem}") from None
    for name in _SPARE if task.keeps_model else (*_LARGE, *_SPARE):
        shutil.rmtree(stage / name, ignore_errors=True)
    write_outcome(stage, cell, task.identity, result, task.keeps_model)
    shutil.rmtree(folder, ignore_errors=True)
    stage.rename(folder)  # with its name the run is finished
    publish.fsync_folder(folder.parent)
    return result


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
