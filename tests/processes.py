"""Children that a test starts: to send signals to them, or because its own process will not do."""

import contextlib
import multiprocessing
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from typing import Any


def in_clean_process(test: Callable[..., object], *arguments: object) -> None:
    """Run a part of a test where it may fork: Ray leaves threads in the process that runs its tests."""
    process = multiprocessing.get_context("forkserver").Process(target=test, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0


def hear_signals() -> None:
    for number in (signal.SIGINT, signal.SIGHUP):  # nohup ignores the one, a job in the background the other
        signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def started(
    start: Sequence[str],
    preexec_fn: Callable[[], object] = hear_signals,
    **options: Any,
) -> Iterator["subprocess.Popen[str]"]:
    """A process that does not outlive the block, and that signals reach even where tests run under nohup."""
    with subprocess.Popen(
        start,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=preexec_fn,
        **options,
    ) as process:
        try:
            yield process
        finally:
            process.kill()
