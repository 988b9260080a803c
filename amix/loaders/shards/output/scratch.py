"""Files on their way to a store. They are gone when they were sent, or when their process is."""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from amix.engine.base.errors import StorageError

_PREFIX = "amix-sending-"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a folder for the block, in the one for temporary files ($TMPDIR), locked while this process lives."""
    try:
        folder, descriptor = _made()
    except OSError as problem:
        raise _refused(problem) from None
    try:
        yield folder
    except OSError as problem:
        if problem.errno in _FULL:
            raise _refused(problem) from None
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def sweep_scratch() -> None:
    """Remove the folders of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # somebody else's, in use, or just gone
            descriptor = _locked(folder)
            try:
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _refused(problem: OSError) -> StorageError:
    return StorageError(
        f"{tempfile.gettempdir()}: cannot be written ({problem.strerror}), and a shard is put together there before it "
        "is sent. Make room there, or name another folder: TMPDIR=/path/to/folder. Then run the same command again."
    )


def _made() -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        try:
            descriptor = _locked(folder)
        except OSError:
            continue  # a run that sweeps was faster than the lock
        if folder.exists():
            return folder, descriptor
        os.close(descriptor)


def _locked(folder: Path) -> int:
    """Lock a folder and return the descriptor that holds the lock. Raises OSError where another process has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
