"""How far a command is, on stderr: a bar where that is a terminal, elsewhere a line now and then."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from amix.cli.output import notice

if TYPE_CHECKING:
    from amix.train.run.result import EpochSummary

SILENCE = 30.0  # seconds that a log may have to wait for the next line
_SCORES = ("accuracy", "nll", "ece")


class Progress:
    """Counts something while the `with` block runs.

    doing: the command.  unit: what is counted, in the plural.  total: how many there will be, None if not known.
    silence: seconds between two lines where there is no terminal; 0 = a line for each.
    """

    def __init__(self, doing: str, unit: str, total: int | None = None, *, silence: float = SILENCE) -> None:
        from tqdm import tqdm

        self._doing, self._unit, self._total, self._silence = doing, unit, total, silence
        # Any: a bar iterates over nothing.
        self._bar: tqdm[Any] = tqdm(
            desc=doing, unit=f" {unit}", total=total, disable=None, dynamic_ncols=True
        )
        self._done, self._said = 0, time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def begin(self, done: int, total: int) -> None:
        """Say how many there will be, and how many an earlier run did."""
        self._done, self._total = done, total
        self._bar.reset(total)
        self._bar.update(done)

    def advance(self, what: str = "") -> None:
        """Count one more.  what: its name, to be shown beside."""
        self._done += 1
        if what:
            self._bar.set_postfix_str(what, refresh=False)
        self._bar.update()
        if self._bar.disable and time.monotonic() - self._said >= self._silence:
            of = "" if self._total is None else f" of {self._total:,}"
            notice(f"{self._doing}: {self._done:,}{of} {self._unit}{what and f', {what}'}")
            self._said = time.monotonic()


def tell_epoch(summary: "EpochSummary") -> None:
    """Say how an epoch of training went, where no terminal shows a bar."""
    if sys.stderr.isatty():
        return
    scores = [] if summary.dev is None else [f"{name} {summary.dev[name]:.4f}" for name in _SCORES]
    dev = f"; dev {', '.join(scores)}" if scores else ""
    notice(
        f"epoch {summary.epoch} of {summary.epochs}: loss {summary.loss:.4f}{dev}; {summary.seconds:.1f} s"
    )
