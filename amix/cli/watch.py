"""How a precompute run is shown while it goes on, and at its end: to people on stderr, to machines on stdout."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from amix.cli.output import json_line, notice
from amix.cli.shell.progress import SILENCE
from amix.cli.sources import corpus_lines
from amix.engine.base.errors import AmixError
from amix.engine.base.words import counted

if TYPE_CHECKING:
    from tqdm import tqdm

    from amix.loaders.corpus import Corpus
    from amix.loaders.precompute.progress import RunTotals, Start, Tally, UnitSummary
    from amix.loaders.shards.manifest import Manifest

    _Bar = tqdm[Any]  # Any: it iterates over nothing

_TICK = 1.0  # seconds


class Watch:
    """A bar on stderr, where that is no terminal a line now and then; with `events`, also JSON objects on stdout."""

    def __init__(self, bar: "_Bar", tally: "Tally", *, events: bool) -> None:
        self._bar = bar
        self._tally = tally
        self._events = events
        self._said = time.monotonic()
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
def watching(out: object, tally: "Tally", *, events: bool, again: str = "") -> Iterator[Watch]:
    """Show a run that is counted by `tally` until the block ends; if it fails, say what it leaves in `out`.

    again: how to begin anew, with a comma or the like before it.
    """
    try:
        with _shown(tally, events) as watch:
            yield watch
    except AmixError:
        if tally.units:
            notice(
                f"{out}: keeps the {counted(tally.units, 'shard')} that this run finished. When the cause is mended, "
                f"the same command goes on from there{again}."
            )
        raise


@contextlib.contextmanager
def _shown(tally: "Tally", events: bool) -> Iterator[Watch]:
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


@dataclass(frozen=True, kw_only=True)
class Done:
    """What the last line of `precompute --json` says.

    classes: names by id, None without labels.  files: the rows of each local file that was read, by its name.
    """

    shards_folder: str
    samples: int
    tokens: int
    shards: int
    bytes: int
    rejects: int
    truncated: int
    classes: list[str] | None
    files: dict[str, int]
    computed_tokens: int
    seconds: float
    manifest_sha256: str

    @classmethod
    def of(cls, manifest: "Manifest", out: str, run: "RunTotals", seconds: float) -> "Done":
        """Return it for the cache `out` of a run that took this long."""
        return cls(
            shards_folder=out,
            samples=manifest.samples,
            tokens=manifest.tokens,
            shards=len(manifest.shards),
            bytes=manifest.tar_bytes,
            rejects=manifest.reject_count,
            truncated=manifest.truncated,
            classes=None if manifest.label_names is None else list(manifest.label_names),
            files=dict(manifest.files),
            computed_tokens=run.computed_tokens,
            seconds=round(seconds, 3),
            manifest_sha256=manifest.sha256,
        )


def speed(run: "RunTotals") -> str:
    """Return how fast this run was, and how much of the cache is its work; nothing where it computed nothing."""
    if run.tokens_per_second is None:
        return ""
    did = f"{counted(run.samples, 'text')} in this run, {run.tokens_per_second:,.0f} tokens/s"
    return f" ({did}, {counted(run.workers, 'worker')})"
