"""Ctrl-C, SIGTERM, a closed terminal: they end a run as an exception does, and cut no clearing up short."""

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGHUP)  # Python's own way with these is to die at once
STOPPING = frozenset({signal.SIGINT, *_ENDING})

_LOG = logging.getLogger(__name__)


@contextlib.contextmanager
def signals_end(message: Callable[[str], str]) -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise SystemExit inside the block, so that `with` and `finally` are run.

    The exit code is 128 + the signal's number, as shells report it (143, 129); what `message` says of the signal's
    name is logged. Nothing changes where somebody decided otherwise: outside the main thread, and for a signal that
    is ignored (nohup) or has a handler.
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
        _LOG.warning(message(end.name))  # without any set-up of logging this line is shown on stderr
        raise
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Hold SIGINT, SIGTERM and SIGHUP back until the block is through. Only for what ends soon by itself."""
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


class _Ended(SystemExit):
    """SystemExit by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.name = signal.Signals(number).name


def _end(number: int, _: FrameType | None) -> None:
    raise _Ended(number)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
