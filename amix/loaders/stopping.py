"""Ctrl-C and a scheduler's SIGTERM: they end a run as an exception does, and cut no clearing up short."""

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from types import FrameType

STOPPING = frozenset({signal.SIGINT, signal.SIGTERM})
TERMINATED = 128 + signal.SIGTERM  # what a shell reports for a program ended by SIGTERM

_LOG = logging.getLogger(__name__)


@contextlib.contextmanager
def sigterm_ends(message: str) -> Iterator[None]:
    """Let SIGTERM raise SystemExit(143) inside the block, so that `with` and `finally` are run, and log `message`.

    Python's own way is to die at once. Nothing changes where somebody decided otherwise: outside the main thread, and
    when SIGTERM is ignored or has a handler.
    """
    if not _is_main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except _Terminated:
        _LOG.warning(message)  # without any set-up of logging this line is shown on stderr
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back until the block is through. Only for what ends soon by itself."""
    if not _is_main_thread():  # the only one that is ever interrupted
        yield
        return
    held: list[int] = []

    def hold(number: int, _: FrameType | None) -> None:
        held.append(number)

    # A block of the signal mask would not do: another thread would take the signal, and interrupt this one.
    before = {number: signal.getsignal(number) for number in STOPPING}
    before = {number: handler for number, handler in before.items() if callable(handler)}
    for number in before:
        signal.signal(number, hold)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if held:
            signal.raise_signal(held[0])


class _Terminated(SystemExit):
    """SystemExit by SIGTERM."""


def _terminate(*_: object) -> None:
    raise _Terminated(TERMINATED)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
