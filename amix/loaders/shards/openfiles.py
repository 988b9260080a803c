"""Files mapped into memory, and the number of shards that a process keeps open, within its limit on open files."""

import mmap
import resource
from collections import deque
from pathlib import Path
from typing import Protocol

from amix.engine.base.errors import ShardError

_FILES = 2  # of an open shard: tar and checksums
_MAPS = 1 << 14  # shards at most; a process may have 65,530 mapped regions by default


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


def mapped(path: Path) -> mmap.mmap:
    """Map a file into memory, so that its bytes are read when they are used. Raises ShardError naming the file."""
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as problem:  # mmap refuses an empty file with a ValueError
        raise ShardError(
            f"{path}: cannot be read ({problem}). Run the same 'amix precompute' again."
        ) from None


def _allowed() -> int:
    """Return how many shards take three quarters of the files that this process may have open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return _MAPS
    return max(1, min(_MAPS, files * 3 // 4 // _FILES))
