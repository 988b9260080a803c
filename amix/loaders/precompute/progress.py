"""The progress of a precompute run: how far it is, how fast it goes, and where its workers' time went.

Only sums: summaries of units in, numbers out. `as_json` of each is a line of `precompute --json`.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Self

from amix.loaders.shards.records import Reject, ShardRecord


@dataclass(frozen=True, kw_only=True)
class Start:
    """The state at the start of a run.

    row_count: of the whole corpus, rejected ones too; None when it is not known before reading.
    units_done, rows_done, rejects_done: what earlier runs published.
    workers: processes.  threads: of the session in each.
    """

    row_count: int | None = None
    units_done: int = 0
    rows_done: int = 0
    rejects_done: int = 0
    workers: int
    threads: int

    @classmethod
    def after(
        cls, records: Iterable[ShardRecord], *, row_count: int | None, workers: int, threads: int
    ) -> Self:
        """Return the start of a run that finds the `records` of finished units."""
        found = list(records)
        return cls(
            row_count=row_count,
            units_done=len(found),
            rows_done=sum(record.row_count for record in found),
            rejects_done=sum(len(record.rejects) for record in found),
            workers=workers,
            threads=threads,
        )

    def as_json(self) -> dict[str, object]:
        """Return the start as `precompute --json` prints it."""
        return _with_rows(asdict(self))


@dataclass(frozen=True, kw_only=True)
class UnitSummary:
    """What a worker tells its parent about a unit that it published.

    row_count: corpus rows, rejected ones too.  truncated: texts that were cut.  computed_tokens: with padding.
    seconds, cpu_seconds: of the worker while it worked on the unit.  stages: seconds by stage, which overlap.
    session_cpu_seconds: CPU time in the session.  peak_bytes: the worker's largest memory so far.
    """

    unit: int
    row_count: int
    samples: int
    tokens: int
    rejects: tuple[Reject, ...]
    truncated: int
    computed_tokens: int
    seconds: float
    cpu_seconds: float
    stages: Mapping[str, float]
    session_cpu_seconds: float
    peak_bytes: int

    def as_json(self) -> dict[str, object]:
        """Return the summary as `precompute --json` prints it."""
        return _with_rows(asdict(self))


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """The time of one stage: seconds of all workers together, and tokens per such second."""

    seconds: float
    tokens_per_second: float | None


@dataclass(frozen=True, kw_only=True)
class RunTotals:
    """What a run did and cost, without the units of earlier runs. Ratios are None where nothing was done.

    row_count, samples, tokens, computed_tokens, truncated, rejects: sums over the units.
    padding_share: padding computed per token.  stages: by name; the stages of a worker overlap.
    worker_busy_share: the share of the workers' lifetime in which they had a unit.
    session_busy_share: of that, the share in which the session ran; session_cpu_share: the same in CPU time.
    peak_bytes: the largest of any worker.
    """

    workers: int
    threads: int
    units: int
    rejects: int
    row_count: int
    samples: int
    tokens: int
    computed_tokens: int
    truncated: int
    padding_share: float | None
    seconds: float
    samples_per_second: float | None
    tokens_per_second: float | None
    stages: Mapping[str, StageCost]
    worker_seconds: float
    worker_cpu_seconds: float
    session_cpu_seconds: float
    worker_busy_share: float | None
    session_busy_share: float | None
    session_cpu_share: float | None
    peak_bytes: int | None

    def as_json(self) -> dict[str, object]:
        """Return the totals as `precompute --json` prints them."""
        return _with_rows(asdict(self))


class Tally:
    """Adds up the units that one run publishes. units: how many."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._began: float | None = None
        self._start = Start(workers=0, threads=0)
        self.units = 0
        self._rows = self._samples = self._tokens = self._computed = self._truncated = self._rejects = 0
        self._seconds = self._cpu_seconds = self._session_cpu_seconds = 0.0
        self._stages: defaultdict[str, float] = defaultdict(float)
        self._peak_bytes = 0

    def begin(self, start: Start) -> None:
        """Note the state at the start of the run, and start the clock."""
        self._start = start
        self._began = self._clock()

    def add(self, summary: UnitSummary) -> None:
        """Add one published unit."""
        self.units += 1
        self._rows += summary.row_count
        self._samples += summary.samples
        self._tokens += summary.tokens
        self._computed += summary.computed_tokens
        self._truncated += summary.truncated
        self._rejects += len(summary.rejects)
        self._seconds += summary.seconds
        self._cpu_seconds += summary.cpu_seconds
        self._session_cpu_seconds += summary.session_cpu_seconds
        for stage, seconds in summary.stages.items():
            self._stages[stage] += seconds
        self._peak_bytes = max(self._peak_bytes, summary.peak_bytes)

    @property
    def rejects(self) -> int:
        """Unusable rows in all published units, with those of earlier runs."""
        return self._start.rejects_done + self._rejects

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return 0.0 if self._began is None else self._clock() - self._began

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens of published texts, padding not counted, per second since the run began."""
        return _ratio(self._tokens, self.seconds)

    def totals(self) -> RunTotals:
        """Return all figures of this run so far."""
        seconds, workers = self.seconds, self._start.workers
        return RunTotals(
            workers=workers,
            threads=self._start.threads,
            units=self.units,
            rejects=self._rejects,
            row_count=self._rows,
            samples=self._samples,
            tokens=self._tokens,
            computed_tokens=self._computed,
            truncated=self._truncated,
            padding_share=_ratio(self._computed - self._tokens, self._tokens),
            seconds=seconds,
            samples_per_second=_ratio(self._samples, seconds),
            tokens_per_second=_ratio(self._tokens, seconds),
            stages={
                stage: StageCost(seconds=spent, tokens_per_second=_ratio(self._tokens, spent))
                for stage, spent in self._stages.items()
            },
            worker_seconds=self._seconds,
            worker_cpu_seconds=self._cpu_seconds,
            session_cpu_seconds=self._session_cpu_seconds,
            worker_busy_share=_ratio(self._seconds, workers * seconds),
            session_busy_share=_ratio(self._stages.get("session", 0.0), self._seconds),
            session_cpu_share=_ratio(self._session_cpu_seconds, self._cpu_seconds),
            peak_bytes=self._peak_bytes or None,
        )


def _with_rows(fields: Mapping[str, object]) -> dict[str, object]:
    """Return the fields in their order, with `row_count` called `rows`, as it is in the output."""
    return {"rows" if name == "row_count" else name: value for name, value in fields.items()}


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
