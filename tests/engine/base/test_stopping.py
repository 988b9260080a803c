"""Signals that end a run: raised inside the block, delayed where that is asked for, and left alone otherwise."""

import logging
import signal
import threading
from collections.abc import Iterator

import pytest

from amix.engine.base.stopping import signals_end, undisturbed


@pytest.fixture(autouse=True)
def hears_signals() -> Iterator[None]:
    """Nothing is ignored, as SIGHUP is where tests run under nohup."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_runs_the_cleaning_up_and_becomes_the_exit_code(
    number: signal.Signals, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    cleaned = False
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(SystemExit) as ended,
        signals_end(lambda name: f"{name}: kept"),
    ):
        try:
            signal.raise_signal(number)
        finally:
            cleaned = True
    assert cleaned
    assert ended.value.code == code
    assert caplog.messages == [f"{number.name}: kept"]
    assert signal.getsignal(number) is signal.SIG_DFL


def test_an_ignored_signal_and_a_handler_are_left_alone() -> None:
    seen: list[int] = []
    before = (
        signal.signal(signal.SIGHUP, signal.SIG_IGN),
        signal.signal(signal.SIGTERM, lambda number, _: seen.append(number)),
    )
    try:
        with signals_end(str):
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGTERM)
        assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before[0])
        signal.signal(signal.SIGTERM, before[1])


def test_a_delayed_signal_arrives_after_the_block() -> None:
    steps: list[str] = []
    with pytest.raises(SystemExit), signals_end(str):
        with undisturbed():
            signal.raise_signal(signal.SIGTERM)
            steps.append("the block goes on")
        steps.append("never reached")
    assert steps == ["the block goes on"]


def test_another_thread_changes_no_handler() -> None:
    found: list[object] = []

    def work() -> None:
        with signals_end(str), undisturbed():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]
