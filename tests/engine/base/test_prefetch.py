"""Working ahead: in order, bounded, with errors handed over, and without a thread left behind."""

import itertools
import threading
import time
from collections.abc import Iterator

import pytest

from amix.engine.base.prefetch import Prefetched


def test_items_come_in_order_and_the_end_ends() -> None:
    with Prefetched(iter(range(100)), depth=3) as ahead:
        assert list(ahead) == list(range(100))


def test_the_source_stops_when_nobody_takes() -> None:
    begun: list[int] = []

    def source() -> Iterator[int]:
        for number in itertools.count():
            begun.append(number)
            yield number

    with Prefetched(source(), depth=4) as ahead:
        assert next(iter(ahead)) == 0
        deadline = time.monotonic() + 10
        while len(begun) < 6 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)  # time enough to go further, if nothing stopped it
        assert len(begun) == 6  # one taken, four waiting, one in the thread's hands


def test_an_error_of_the_source_is_raised_where_it_is_consumed() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    with Prefetched(source(), depth=2) as ahead:
        items = iter(ahead)
        assert next(items) == 1
        with pytest.raises(ValueError, match="no more"):
            next(items)


def test_leaving_early_stops_the_thread() -> None:
    before = set(threading.enumerate())
    with Prefetched(iter(itertools.count()), depth=2) as ahead:
        next(iter(ahead))
    assert set(threading.enumerate()) <= before


def test_a_source_that_holds_another_stage_ends_it_when_it_is_left() -> None:
    before = set(threading.enumerate())

    def outer() -> Iterator[int]:
        with Prefetched(iter(itertools.count()), depth=1) as inner:
            yield from inner

    source = outer()
    with Prefetched(source, depth=1) as ahead:
        next(iter(ahead))
        assert len(set(threading.enumerate()) - before) == 2
    assert set(threading.enumerate()) <= before  # though somebody still holds the source
