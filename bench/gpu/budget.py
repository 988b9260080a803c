"""The time that a run has, and the pieces of work that are done in it."""

import subprocess
import sys
import time
import traceback
from collections.abc import Callable

from gpu.journal import Journal, Piece, Status

MARGIN = 1.15  # a piece is expected to take this much longer than it took before


class Absent(Exception):
    """What a piece needs is not installed on this machine."""


class Budget:
    """Runs pieces of work as long as they fit, and writes down what became of each.

    A piece that fails does not end the run: the next ones may well work, and the card is there now.
    """

    def __init__(self, seconds: float, journal: Journal, clock: Callable[[], float] = time.monotonic) -> None:
        self.journal = journal
        self.failed = 0
        self._clock = clock
        self._end = clock() + seconds
        self._taken: dict[str, float] = {}

    @property
    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, self._end - self._clock())

    def expected(self, kind: str, needs: float, size: float = 1.0) -> float:
        """Return how many seconds a piece is expected to take; arguments as of `piece`."""
        return size * (MARGIN * self._taken[kind] if kind in self._taken else needs)

    def piece(
        self,
        name: str,
        run: Callable[[], object],
        *,
        needs: float,
        like: str | None = None,
        size: float = 1.0,
        reserve: float = 0.0,
    ) -> bool:
        """Run a piece unless it does not fit; tell whether it is done.

        needs: seconds that it is expected to take, for `size` 1, until one of its kind has been measured.
        like: its kind, where that is not its name.  size: how much of it there is.
        reserve: seconds that must be left after it.
        Never raises what the piece raises.
        """
        kind = like or name
        expected, left = self.expected(kind, needs, size) + reserve, self.left
        if expected > left:
            self._note(Piece(name=name, status="skipped", needs=expected, left=left, why="no time is left"))
            return False
        _tell(f"{name} ({left:.0f} s left)")
        began = self._clock()
        status, why = _attempt(run)
        seconds = self._clock() - began
        if status == "done":
            self._taken[kind] = seconds / size
        self.failed += status == "failed"
        self._note(Piece(name=name, status=status, needs=expected, left=left, seconds=seconds, why=why))
        return status == "done"

    def _note(self, piece: Piece) -> None:
        if piece.status != "done":
            _tell(f"{piece.name}: {piece.status}; {piece.why.strip().splitlines()[-1]}")
        self.journal.write(piece)


def _attempt(run: Callable[[], object]) -> tuple[Status, str]:
    try:
        run()
    except Absent as problem:
        return "absent", str(problem)
    except subprocess.TimeoutExpired as problem:
        return "cut", f"the time was over: {problem}"
    except (Exception, SystemExit) as problem:  # a child that failed is a SystemExit (measuring/command.py)
        trace = traceback.format_exc()
        return "failed", f"{trace[-3000:]}\n{type(problem).__name__}: {str(problem)[-1000:]}"
    return "done", ""


def _tell(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201  progress
