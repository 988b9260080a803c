"""Spawned workers, each with its own session: units out, summaries back, deaths noticed, errors kept whole."""

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Self

from amix.engine.errors import AmixError, ShardError
from amix.loaders.corpus import Row
from amix.loaders.unit import UnitBuilder, UnitSettings

Unit = tuple[int, list[Row]]


class WorkerPool:
    """A few worker processes; leaving the `with` block ends them, whatever they were at."""

    def __init__(self, settings: UnitSettings, count: int) -> None:
        self._settings = settings
        self._count = count
        self._workers: dict[Connection, BaseProcess] = {}
        self._busy: dict[Connection, int] = {}

    def __enter__(self) -> Self:
        # Spawned, never forked: a session made before a fork hangs, and threads do not survive one.
        context = multiprocessing.get_context("spawn")
        for number in range(self._count):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_work, args=(theirs, self._settings), name=f"amix-worker-{number}", daemon=True
            )
            process.start()
            theirs.close()
            self._workers[ours] = process
        return self

    def __exit__(self, *_: object) -> None:
        for connection, process in self._workers.items():
            connection.close()
            process.terminate()
        for process in self._workers.values():
            process.join()

    def map(self, units: Iterator[Unit]) -> Iterator[dict[str, Any]]:
        """Yield the summary of each unit as it is published, in any order.

        A unit is drawn only when a worker is free, so a slow worker slows the reading down.
        Raises the worker's own AmixError, or ShardError when a worker died.
        """
        idle = list(self._workers)
        drained = False
        while True:
            while idle and not drained:
                unit = next(units, None)
                if unit is None:
                    drained = True
                    break
                connection = idle.pop()
                self._busy[connection] = unit[0]
                try:
                    connection.send(unit)
                except OSError:
                    raise self._death(connection) from None
            if not self._busy:
                return
            for ready in wait(list(self._busy)):
                assert isinstance(ready, Connection)
                try:
                    kind, *content = ready.recv()
                except (EOFError, OSError):
                    raise self._death(ready) from None
                unit_number = self._busy.pop(ready)
                if kind == "failed":
                    raise _rebuilt(unit_number, *content)
                idle.append(ready)
                yield content[0]

    def _death(self, connection: Connection) -> ShardError:
        process, unit = self._workers[connection], self._busy[connection]
        process.join(10)
        return ShardError(
            f"worker {process.pid} died with exit code {process.exitcode} at unit {unit} (a negative code is a signal; "
            "-9 is often the system out of memory). Finished shards are kept: run the same command again to go on, "
            "with fewer --workers if memory was short."
        )


def _work(connection: Connection, settings: UnitSettings) -> None:
    # Ctrl-C reaches the whole group; the parent decides what happens to its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if settings.threads == 1:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
    threading.Thread(target=_end_with_parent, daemon=True).start()
    builder: UnitBuilder | None = None
    while True:
        try:
            unit, rows = connection.recv()
        except (EOFError, OSError):
            return
        try:
            builder = builder or UnitBuilder(settings)
            connection.send(("done", builder.build(unit, rows)))
        except Exception as problem:
            connection.send(("failed", type(problem), str(problem), traceback.format_exc()))


def _end_with_parent() -> None:
    """Leave at once when the parent is gone, so that a killed run does not write beside its successor."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _rebuilt(unit: int, kind: type[Exception], message: str, trace: str) -> AmixError:
    error = (
        kind(message)
        if issubclass(kind, AmixError)
        else ShardError(
            f"unit {unit} failed in its worker with {kind.__name__}: {message}. Finished shards are kept; "
            "--debug shows where it happened."
        )
    )
    error.add_note(f"In the worker, at unit {unit}:\n{trace}")
    return error
