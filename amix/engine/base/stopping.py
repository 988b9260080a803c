"""Ctrl-C, SIGTERM and a closed terminal end a run as an exception does, so that it still cleans up."""

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGHUP)  # by default Python dies of these at once
STOPPING = frozenset({signal.SIGINT, *_ENDING})

_LOG = logging.getLogger(__name__)


@contextlib.contextmanager
def signals_end(message: Callable[[str], str]) -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise SystemExit inside the block, so that `with` and `finally` blocks run.

    The exit code is 128 + the signal's number, as shells report it (143, 129).
    message: returns the line to log, given the signal's name.
    A signal that is ignored (nohup) or already has a handler is left alone, and so are all outside the main thread.
    """
    ours = [number for number in _ENDING if signal.getsignal(number) is signal.SIG_DFL]
    if not _is_main_thread() or not ours:
        yield
        return
    for number in ours:
        signal.signal(number, _end)
    try:
        yield
    except _Ended as end:
        _LOG.warning(message(end.name))  # shown on stderr where logging is not set up
        raise
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Delay SIGINT, SIGTERM and SIGHUP until the block has ended. Only for blocks that end soon by themselves."""
    if not _is_main_thread():  # signals interrupt only the main thread
        yield
        return
    held: list[int] = []

    def hold(number: int, _: FrameType | None) -> None:
        held.append(number)

    # Blocking the signals is not enough: another thread would receive them, and Python would interrupt this one.
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


class _Ended(SystemExit):
    """SystemExit by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.name = signal.Signals(number).name


def _end(number: int, _: FrameType | None) -> None:
    raise _Ended(number)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
