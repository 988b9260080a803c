"""What keeps processes out of each other's way: a lock on a folder, and workers that end with their parent."""

import ctypes
import fcntl
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from amix.engine.base.errors import AmixError, UsageError
from amix.engine.base.stopping import STOPPING

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def lock_folder(folder: Path, doing: str, held: type[AmixError]) -> int:
    """Lock a folder against other processes that write there; return the descriptor whose closing unlocks it.

    The lock is on the folder itself: it leaves no file behind, and goes with its holder however that ends.
    doing: what another process does there, for the message. Raises `held` where one does; UsageError where the folder
    cannot be opened or locked.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as problem:
        raise UsageError(
            f"{folder}: cannot be opened ({problem.strerror}). Name another place, or mend it."
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise held(
            f"{folder}: another process is {doing} there. Wait for it, or name another folder."
        ) from None
    except OSError as problem:
        os.close(descriptor)
        raise UsageError(
            f"{folder}: cannot be locked ({problem.strerror}), so two runs could write there at once. "
            "Name a folder on a local disk, and copy it when it is finished."
        ) from None
    return descriptor


def start_worker(process: BaseProcess) -> None:
    """Start a process that calls `become_worker` first of all.

    It inherits a block of the signals that stop a run: a Ctrl-C while it is still importing would show its traceback.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def become_worker() -> None:
    """Leave Ctrl-C, which reaches the whole group, to the parent, and from now on end at once when the parent does.

    So a killed run does not write beside its successor.
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
        # The kernel's way also ends a worker in the middle of a C call that lets no other thread run.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=watch, daemon=True).start()
    if wait([sentinel], 0):  # work that was sent before may still lie in the pipe
        os._exit(1)
