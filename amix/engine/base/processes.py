"""What keeps processes from disturbing each other: a lock on a folder, and workers that end with their parent."""

import contextlib
import ctypes
import fcntl
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from amix.engine.base.errors import AmixError, UsageError
from amix.engine.base.stopping import STOPPING

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def lock_folder(folder: Path, doing: str, held: type[AmixError]) -> int:
    """Lock a folder against other processes that write there. Closing the returned descriptor unlocks it.

    The lock is on the folder itself: it leaves no file behind, and ends with the process that holds it.
    doing: what a process that holds the lock is doing, for the message.
    Raises `held` where another process holds it; UsageError where the folder cannot be opened or locked.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as problem:
        raise UsageError(
            f"{folder}: cannot be opened ({problem.strerror}). Check its permissions, or name another folder."
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise held(
            f"{folder}: another process is {doing} there. Wait for it to finish, or name another folder."
        ) from None
    except OSError as problem:
        os.close(descriptor)
        raise UsageError(
            f"{folder}: cannot be locked ({problem.strerror}), so two runs could write there at once. "
            "Name a folder on a local disk, and copy it when the run has finished."
        ) from None
    return descriptor


@contextlib.contextmanager
def locked(folder: Path, doing: str, held: type[AmixError]) -> Iterator[None]:
    """Keep other processes out of a folder while the block runs; see `lock_folder`.

    A folder that cannot be locked, as on some network file systems, is used all the same.
    """
    descriptor = None
    with contextlib.suppress(UsageError):
        descriptor = lock_folder(folder, doing, held)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def start_worker(process: BaseProcess) -> None:
    """Start a process whose first call is `become_worker`.

    The signals that stop a run are blocked in it until then: a Ctrl-C during its imports would print a traceback.
    """
    resource_tracker.ensure_running()  # which the first process would start, and unblock SIGINT and SIGTERM
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def become_worker() -> None:
    """Ignore Ctrl-C, which the parent handles, and from now on end as soon as the parent does.

    So no worker of a killed run still writes when the next run starts.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    parent = multiprocessing.parent_process()
    assert parent is not None
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        os._exit(1)

    if sys.platform == "linux":
        # The kernel ends even a worker inside a C call that lets no other thread run.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=watch, daemon=True).start()
    if wait([sentinel], 0):  # the parent ended before the watch began
        os._exit(1)
