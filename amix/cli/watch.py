"""How a precompute run is shown while it goes on: on stderr for people, on stdout for machines."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from amix.cli.output import json_line, notice
from amix.cli.shell.progress import SILENCE

if TYPE_CHECKING:
    from tqdm import tqdm

    from amix.loaders.precompute.progress import Start, Tally, UnitSummary

    _Bar = tqdm[Any]  # Any: it iterates over nothing

_TICK = 1.0  # seconds


class Watch:
    """A bar on stderr, where that is no terminal a line now and then; with `events`, also JSON objects on stdout."""

    def __init__(self, bar: "_Bar", tally: "Tally", *, events: bool) -> None:
        self._bar = bar
        self._tally = tally
        self._events = events
        self._said = time.monotonic()

    def begin(self, start: "Start") -> None:
        """Show the state at the start of the run; the bar goes on where the last run stopped."""
        bar = self._bar
        self._tally.begin(start)
        bar.total = start.row_count
        bar.initial = bar.n = start.rows_done  # so that rate and ETA are those of this run
        bar.unpause()  # restarts its clock
        self._show()
        self._emit({"event": "start", **start.as_json()})

    def add(self, summary: "UnitSummary") -> None:
        """Show one more published unit."""
        self._tally.add(summary)
        self._bar.n += summary.row_count
        self._show()
        if self._bar.disable and time.monotonic() - self._said >= SILENCE:
            of = "" if self._bar.total is None else f" of {self._bar.total:,}"
            notice(
                f"precompute: {self._bar.n:,}{of} texts, {self._tally.tokens_per_second or 0:,.0f} tokens/s"
            )
            self._said = time.monotonic()
        self._emit({"event": "unit", **summary.as_json()})

    def _show(self) -> None:
        self._bar.set_postfix(
            {"tokens/s": f"{self._tally.tokens_per_second or 0:,.0f}", "rejects": self._tally.rejects}
        )

    def _tick(self, over: threading.Event) -> None:
        """Keep the clock moving: a unit may take minutes, and a bar that does not move looks like a run that hangs."""
        while not over.wait(_TICK):
            self._show()

    def _emit(self, event: Mapping[str, object]) -> None:
        if self._events:
            with self._bar.external_write_mode(file=sys.stdout):  # both may be the same terminal
                json_line(event)


@contextlib.contextmanager
def watching(tally: "Tally", *, events: bool) -> Iterator[Watch]:
    """Show a run that is counted by `tally` until the block ends."""
    from tqdm import tqdm

    # Units come in bursts, one from each worker, so only the mean since the start tells when all will be done.
    with tqdm(desc="precompute", unit=" texts", smoothing=0, disable=None, dynamic_ncols=True) as bar:
        watch = Watch(bar, tally, events=events)
        over = threading.Event()
        clock = threading.Thread(target=watch._tick, args=(over,), daemon=True)
        if not bar.disable:
            clock.start()
        try:
            yield watch
            bar.total = bar.n  # --limit may have asked for more than there is
        finally:
            over.set()
            if clock.is_alive():
                clock.join()
