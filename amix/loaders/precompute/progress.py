"""What a precompute run adds up to: how far it is, how fast it goes, and where its workers' time went.

Accounting only: summaries of units in, numbers out.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

_COUNTED = ("rows", "samples", "tokens", "computed_tokens", "truncated")
_TIMED = ("seconds", "cpu_seconds", "session_cpu_seconds")


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a run begins with.

    rows: of the whole corpus, rejected ones included; None when only reading it would tell.
    units_done, rows_done, rejects_done: what earlier runs published.
    workers: processes.  threads: of the session in each.
    """

    rows: int | None = None
    units_done: int = 0
    rows_done: int = 0
    rejects_done: int = 0
    workers: int
    threads: int

    @classmethod
    def after(
        cls,
        records: Iterable[Mapping[str, Any]],
        *,
        rows: int | None,
        workers: int,
        threads: int,
    ) -> Self:
        """Return the start of a run that finds the `records` of finished units."""
        found = list(records)
        return cls(
            rows=rows,
            units_done=len(found),
            rows_done=sum(record["rows"][1] - record["rows"][0] for record in found),
            rejects_done=sum(len(record["rejects"]) for record in found),
            workers=workers,
            threads=threads,
        )


class Tally:
    """Adds up the units that one run publishes."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._began: float | None = None
        self._start: Start | None = None
        self._counts: Counter[str] = Counter()
        self._times: defaultdict[str, float] = defaultdict(float)
        self._stages: defaultdict[str, float] = defaultdict(float)
        self._peak_bytes = 0

    def begin(self, start: Start) -> None:
        """Note what the run begins with, and start the clock."""
        self._start = start
        self._began = self._clock()

    def add(self, summary: Mapping[str, Any]) -> None:
        """Add the summary of one unit, as `UnitBuilder.build` returns it."""
        self._counts["units"] += 1
        self._counts["rejects"] += len(summary["rejects"])
        for name in _COUNTED:
            self._counts[name] += summary[name]
        for name in _TIMED:
            self._times[name] += summary[name]
        for stage, seconds in summary["stages"].items():
            self._stages[stage] += seconds
        self._peak_bytes = max(self._peak_bytes, summary["peak_bytes"])

    @property
    def units(self) -> int:
        """Units that this run published."""
        return self._counts["units"]

    @property
    def rejects(self) -> int:
        """Unusable rows in all published units, those of earlier runs among them."""
        before = 0 if self._start is None else self._start.rejects_done
        return before + self._counts["rejects"]

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return 0.0 if self._began is None else self._clock() - self._began

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens of published texts, padding not counted, per second since the run began."""
        return _ratio(self._counts["tokens"], self.seconds)

    def as_dict(self) -> dict[str, Any]:
        """Return all figures of this run, without the units that stood before; ratios of nothing are None.

        padding_share: padding computed per token.  stages: seconds of all workers together, which overlap within a
        worker, and tokens per such second.  worker_busy_share: of the time that the workers were there, what they had
        a unit.  session_busy_share: of that, what the session ran; session_cpu_share: the same in CPU time.
        peak_bytes: the largest of any worker.
        """
        counts, times, seconds = self._counts, self._times, self.seconds
        workers, threads = (0, 0) if self._start is None else (self._start.workers, self._start.threads)
        padding = counts["computed_tokens"] - counts["tokens"]
        return {
            "workers": workers,
            "threads": threads,
            **{name: counts[name] for name in ("units", "rejects", *_COUNTED)},
            "padding_share": _ratio(padding, counts["tokens"]),
            "seconds": seconds,
            "samples_per_second": _ratio(counts["samples"], seconds),
            "tokens_per_second": _ratio(counts["tokens"], seconds),
            "stages": {
                stage: {"seconds": spent, "tokens_per_second": _ratio(counts["tokens"], spent)}
                for stage, spent in self._stages.items()
            },
            "worker_seconds": times["seconds"],
            "worker_cpu_seconds": times["cpu_seconds"],
            "session_cpu_seconds": times["session_cpu_seconds"],
            "worker_busy_share": _ratio(times["seconds"], workers * seconds),
            "session_busy_share": _ratio(self._stages["session"], times["seconds"]),
            "session_cpu_share": _ratio(times["session_cpu_seconds"], times["cpu_seconds"]),
            "peak_bytes": self._peak_bytes or None,
        }


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
