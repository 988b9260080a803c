"""A process that trains the runs of a comparison, one after the other."""

import logging
import shutil
import threading
import traceback
from dataclasses import dataclass
from multiprocessing import connection, get_context
from pathlib import Path

from amix.engine.base import publish
from amix.engine.base.errors import AmixError, TrainError
from amix.engine.base.processes import become_worker, start_worker
from amix.study.compare.grid import Cell, Corpus
from amix.study.compare.outcome import Identity, write_outcome
from amix.train.run.files import ENSEMBLE, FOLDS, MODEL, TENSORBOARD
from amix.train.run.result import TrainResult
from amix.train.run.train import train

# What `amix train` writes that a comparison does not need; the models would fill a disk, and are kept on request.
_LARGE = (MODEL, ENSEMBLE)
_SPARE = (TENSORBOARD, FOLDS)
_FAREWELL = 10.0  # seconds that a worker gets to end by itself


@dataclass(frozen=True)
class Task:
    """What a worker needs for a cell.  root: the folder of the comparison."""

    model: str
    corpus: Corpus
    cell: Cell
    identity: Identity
    root: Path
    keeps_model: bool


class Worker:
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

    def answer(self) -> TrainResult | AmixError:
        """Return the result of its cell, or the error that it ended with."""
        try:
            answer: TrainResult | AmixError = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            self.pipe.close()
            return TrainError(
                f"its process died (exit code {self.process.exitcode}; -9 means that it was killed, often because "
                "memory ran out). Use fewer --jobs if memory is short."
            )
        return answer

    def dismiss(self) -> None:
        """Tell the process to end: at once if it trains."""
        self.pipe.close()  # for an idle worker the end of its work
        if self.cell is not None:
            self.process.terminate()

    def end(self) -> None:
        """Wait until the process has ended, and end it by force if that takes long."""
        self.process.join(_FAREWELL)
        self.process.kill()
        self.process.join()


def _work(pipe: connection.Connection, threads: int) -> None:
    become_worker()
    import torch
    from tqdm import tqdm

    # By default a bar's lock is one between processes: a worker that is ended would leave its semaphore behind.
    tqdm.set_lock(threading.RLock())
    logging.getLogger("amix").setLevel(logging.ERROR)  # what it warns of was said when the run was checked
    torch.set_num_threads(threads)
    while True:
        try:
            task: Task = pipe.recv()
        except EOFError:  # the parent is gone
            return
        try:
            pipe.send(_run_cell(task))
        except AmixError as problem:
            pipe.send(problem)
        except Exception as problem:
            trace = traceback.format_exc()
            pipe.send(TrainError(f"{type(problem).__name__}: {problem}\n{trace}"))


def _run_cell(task: Task) -> TrainResult:
    cell, corpus = task.cell, task.corpus
    folder = task.root / cell.folder
    stage = folder.with_name(f".{folder.name}.run")
    result = train(cell.train, stage, task.model, cell.config, dev=cell.dev, evals=list(corpus.evals.items()))
    for name in _SPARE if task.keeps_model else (*_LARGE, *_SPARE):
        shutil.rmtree(stage / name, ignore_errors=True)
    write_outcome(stage, cell, task.identity, result, task.keeps_model)
    shutil.rmtree(folder, ignore_errors=True)
    stage.rename(folder)  # with its name the run is finished
    publish.fsync_folder(folder.parent)
    return result
