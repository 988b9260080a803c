"""How a precompute run is shown while it goes on, and what it cost: on stderr for people, on stdout for machines."""

import contextlib
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from amix.cli.output import json_line, notice
from amix.cli.sources import corpus_lines

if TYPE_CHECKING:
    from tqdm import tqdm

    from amix.loaders.corpus import Corpus
    from amix.loaders.precompute.progress import RunTotals, Start, Tally, UnitSummary

    _Bar = tqdm[Any]  # Any: it iterates over nothing

_TICK = 1.0  # seconds


class Watch:
    """A bar on stderr, if that is a terminal; with `events`, also one JSON object per event on stdout."""

    def __init__(self, bar: "_Bar", tally: "Tally", *, events: bool) -> None:
        self._bar = bar
        self._tally = tally
        self._events = events
        self.corpus: Corpus | None = None

    def open(self, corpus: "Corpus") -> None:
        """Show which files are read."""
        self.corpus = corpus
        with self._bar.external_write_mode(file=sys.stderr):
            for line in corpus_lines(corpus):
                notice(line)

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


def cost_lines(run: "RunTotals") -> dict[str, str]:
    """Return what a run did and cost, as names and values for people."""
    if not run.units:
        return {}
    stages = [f"{name} {_number(stage.tokens_per_second)}" for name, stage in run.stages.items()]
    speed = [f"{_number(run.tokens_per_second)} tokens/s", f"{_number(run.samples_per_second)} texts/s"]
    speed.append(f"workers x threads: {run.workers} x {run.threads}")
    return {
        "this run": f"{run.samples:,} texts with {run.tokens:,} tokens",
        "speed": ", ".join(speed),
        "stages": f"{', '.join(stages)} tokens/s in each worker",
        "session": (
            f"{_percent(run.session_busy_share)} of the workers' time, "
            f"{_percent(run.session_cpu_share)} of their CPU time"
        ),
        "padding": f"{_percent(run.padding_share)} on top of the tokens",
        "memory": f"at most {(run.peak_bytes or 0) / 1e6:,.0f} MB in a worker",
    }


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
