"""What a run adds up to, on figures that can be checked by hand."""

from dataclasses import replace
from typing import Any

import pytest

from amix.loaders.precompute.progress import StageCost, Start, Tally, UnitSummary
from amix.loaders.shards.recipe import Recipe
from amix.loaders.shards.records import FileEntry, Reject, ShardRecord


class Clock:
    """Shows the time that it is set to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def unit(number: int, **changed: Any) -> UnitSummary:  # Any: fields of a summary
    plain = UnitSummary(
        unit=number,
        row_count=10,
        samples=9,
        tokens=900,
        computed_tokens=945,
        rejects=(Reject(10 * number, "text is missing"),),
        truncated=2,
        seconds=4.0,
        cpu_seconds=2.0,
        stages={"tokenize": 0.5, "session": 3.0, "store": 1.0},
        session_cpu_seconds=1.5,
        peak_bytes=1000,
    )
    return replace(plain, **changed)


def test_units_add_up() -> None:
    clock = Clock()
    tally = Tally(clock)
    tally.begin(Start(workers=2, threads=1))
    tally.add(unit(0))
    tally.add(unit(1, tokens=100, computed_tokens=105, seconds=2.0, peak_bytes=3000))
    clock.now += 5
    assert tally.units == 2
    assert tally.totals().as_json() == {
        "workers": 2,
        "threads": 1,
        "units": 2,
        "rejects": 2,
        "rows": 20,
        "samples": 18,
        "tokens": 1000,
        "computed_tokens": 1050,
        "truncated": 4,
        "padding_share": 0.05,
        "seconds": 5.0,
        "samples_per_second": 3.6,
        "tokens_per_second": 200.0,
        "stages": {
            "tokenize": {"seconds": 1.0, "tokens_per_second": 1000.0},
            "session": {"seconds": 6.0, "tokens_per_second": pytest.approx(1000 / 6)},
            "store": {"seconds": 2.0, "tokens_per_second": 500.0},
        },
        "worker_seconds": 6.0,
        "worker_cpu_seconds": 4.0,
        "session_cpu_seconds": 3.0,
        "worker_busy_share": 0.6,  # 6 of 2 x 5 seconds
        "session_busy_share": 1.0,
        "session_cpu_share": 0.75,
        "peak_bytes": 3000,
    }


def test_rates_are_of_this_run_and_rejects_of_all_runs() -> None:
    clock = Clock()
    tally = Tally(clock)
    clock.now += 50  # before the work begins; counts for no rate
    tally.begin(Start(row_count=100, workers=1, threads=1, units_done=3, rows_done=30, rejects_done=4))
    clock.now += 9
    tally.add(unit(3))
    assert tally.tokens_per_second == 100.0
    assert tally.rejects == 5
    assert tally.totals().rejects == 1


def test_nothing_has_no_ratio() -> None:
    tally = Tally(Clock())
    assert tally.tokens_per_second is None
    run = tally.totals()
    assert (run.units, run.tokens, run.seconds, run.stages) == (0, 0, 0.0, {})
    assert (
        run.padding_share is run.worker_busy_share is run.session_busy_share is run.session_cpu_share is None
    )
    assert run.peak_bytes is None


def test_a_unit_of_rejects_divides_by_nothing() -> None:
    tally = Tally(Clock())
    tally.begin(Start(workers=1, threads=1))
    nothing = {"tokenize": 0.0, "session": 0.0, "store": 0.0}
    tally.add(unit(0, samples=0, tokens=0, computed_tokens=0, seconds=0.0, cpu_seconds=0.0, stages=nothing))
    run = tally.totals()
    assert run.padding_share is run.session_busy_share is run.session_cpu_share is None
    assert run.stages["session"] == StageCost(seconds=0.0, tokens_per_second=None)


def test_a_start_counts_what_the_records_hold() -> None:
    records = [record(0, (0, 16)), record(2, (32, 40), Reject(33, "text is empty"))]
    start = Start.after(records, row_count=60, workers=2, threads=1)
    assert start == Start(row_count=60, units_done=2, rows_done=24, rejects_done=1, workers=2, threads=1)
    assert start.as_json() == {
        "rows": 60,
        "units_done": 2,
        "rows_done": 24,
        "rejects_done": 1,
        "workers": 2,
        "threads": 1,
    }


def record(unit: int, row_range: tuple[int, int], *rejects: Reject) -> ShardRecord:
    file = FileEntry("x", 0, "0" * 64)
    return ShardRecord(
        unit=unit,
        row_range=row_range,
        rejects=rejects,
        recipe=Recipe({}),
        samples=0,
        tokens=0,
        tar=file,
        index=file,
        crc=file,
    )


def test_a_summary_is_printed_as_it_always_was() -> None:
    assert list(unit(3).as_json().items()) == [
        ("unit", 3),
        ("rows", 10),
        ("samples", 9),
        ("tokens", 900),
        ("rejects", (Reject(30, "text is missing"),)),
        ("truncated", 2),
        ("computed_tokens", 945),
        ("seconds", 4.0),
        ("cpu_seconds", 2.0),
        ("stages", {"tokenize": 0.5, "session": 3.0, "store": 1.0}),
        ("session_cpu_seconds", 1.5),
        ("peak_bytes", 1000),
    ]
