"""Files that are read at any place, and how many shards a process keeps open, within its limit on open files."""

import mmap
import os
import resource
from collections import deque
from pathlib import Path
from typing import Protocol

from amix.engine.base.errors import ShardError

_FILES = 2  # of an open shard: tar and checksums
_MOST = 1 << 12  # shards at most: each holds its index and checksums, at 4,096 samples about 300 kB


class Closable(Protocol):
    """An open shard."""

    def close(self) -> None:
        """Close its files; the next read opens them again."""


class OpenShards:
    """Closes the shard that was opened first when one more would be too many.

    First in, first out: with a global shuffle every shard is as likely to be needed as any other, and with a window
    the oldest is the one that is finished. So nothing needs to be noted on reading.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most or _allowed()
        self._opened: deque[Closable] = deque()

    def add(self, shard: Closable) -> None:
        """Note that `shard` was opened."""
        self._opened.append(shard)
        if len(self._opened) > self._most:
            self._opened.popleft().close()


class OpenFile:
    """A file open for reading at any place. It closes when nothing refers to it any more.

    size: in bytes, when it was opened.  Raises ShardError naming the file when it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self.size = os.fstat(self._number).st_size
        except OSError as problem:
            raise _unreadable(path, problem) from None

    def __del__(self) -> None:
        if hasattr(self, "_number"):  # it could be opened
            os.close(self._number)

    def read(self, begin: int, size: int) -> bytes:
        """Return `size` bytes from `begin` on. Raises ShardError naming the file when it does not have them."""
        try:
            data = os.pread(self._number, size, begin)
        except OSError as problem:
            raise _unreadable(self.path, problem) from None
        if len(data) != size:
            raise cut(self.path, self.size, os.fstat(self._number).st_size)
        return data


def mapped(path: Path, size: int) -> mmap.mmap:
    """Map a file of `size` bytes into memory, so that its bytes are read when they are used.

    For single samples this is faster by a quarter than to read at a place (`OpenFile`). But to touch a byte of a file
    that was cut meanwhile ends the process: before each read, compare the map's `size()`, which asks the system.
    Raises ShardError naming the file when it cannot be read, or is shorter.
    """
    try:
        with path.open("rb") as file:
            now = os.fstat(file.fileno()).st_size
            if now < size:
                raise cut(path, size, now)
            return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    except OSError as problem:
        raise _unreadable(path, problem) from None


def cut(path: Path, before: int, now: int) -> ShardError:
    """Return the error for a file that is shorter than it was."""
    return ShardError(
        f"{path}: was cut from {before} bytes to {now} since the cache was opened. Remove it and run the same "
        "'amix precompute' again; the local copy of a remote shard is fetched again once it is removed."
    )


def _unreadable(path: Path, problem: OSError) -> ShardError:
    return ShardError(f"{path}: cannot be read ({problem.strerror}). Run the same 'amix precompute' again.")


def _allowed() -> int:
    """Return how many shards take three quarters of the files that this process may have open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return _MOST
    return max(1, min(_MOST, files * 3 // 4 // _FILES))
