"""The local store: fetched shards on a local disk, which the processes of a machine share.

The least recently used shards are removed first.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from amix.engine.base.errors import ShardError, StorageError, UsageError
from amix.engine.base.publish import explained

DEFAULT_BYTES = 50 * 10**9
_ELSEWHERE = "Name a folder that can be written to: AMIX_CACHE=/path/to/folder."
# Endings of the files that count and are removed; documents and indexes are small and stay.
_EVICTED = (".tar", ".crc.npy")


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """Where the local store is, and how many bytes of shards it may hold.

    folder: None = $AMIX_CACHE, else `~/.cache/amix`.  limit: bytes; None = $AMIX_CACHE_BYTES, else 50 GB.
    """

    folder: Path | None = None
    limit: int | None = None

    def root(self) -> Path:
        """Return the folder of the local store. Raises StorageError when there is no home for it."""
        given = self.folder or os.environ.get("AMIX_CACHE")
        try:
            return Path(given or Path.home() / ".cache" / "amix").absolute()
        except RuntimeError as problem:
            raise StorageError(f"The local store of shards has no place ({problem}). {_ELSEWHERE}") from None

    def bytes(self) -> int:
        """Return the limit. Raises UsageError when the variable is not a number."""
        if self.limit is not None:
            return self.limit
        text = os.environ.get("AMIX_CACHE_BYTES", str(DEFAULT_BYTES))
        try:
            return int(float(text))
        except ValueError:
            raise UsageError(f"AMIX_CACHE_BYTES={text}: is not a number of bytes.") from None


class ShardCache:
    """The local copies of one cache's shards, in a folder of the local store.

    A file appears when it is whole, and is removed when another one needs its room. A reader that has mapped it keeps
    its bytes after the removal; the room is free when the reader closes it. When several processes fetch at the same
    time, they may exceed the limit until they are done.
    limit: bytes of all shards in the local store.
    """

    def __init__(self, options: CacheOptions, key: str) -> None:
        self._root = options.root()
        self.limit = options.bytes()
        self.folder = self._root / key

    def make(self) -> None:
        """Create the folder. Raises StorageError where it cannot be created."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._locked(self._root / ".lock"):  # which has to be written
                pass
        except OSError as problem:
            raise StorageError(
                f"{self._root}: fetched shards cannot be kept there ({problem.strerror}). {_ELSEWHERE}"
            ) from None

    def provide(self, name: str, size: int, fetch: Callable[[Path], None]) -> Path:
        """Return the file `name`. If it is not there, one process fetches it and the others wait.

        Raises ShardError when it is larger than the whole local store may be.
        """
        path = self.folder / name
        if not _touch(path, size):
            with self._locked(self.folder / f".{name}.lock"):
                if not _touch(path, size):  # another process may have fetched it meanwhile
                    self._make_room(size)
                    with explained(self.folder):
                        fetch(path)
                    self._make_room(0)  # others may have fetched at the same time
        return path

    def _make_room(self, size: int) -> None:
        if size > self.limit:
            raise ShardError(
                f"{self.folder}: a shard of {size:,} bytes does not fit into the local store of {self.limit:,}. Raise "
                "its limit (AMIX_CACHE_BYTES), or make smaller shards with 'amix repack --samples-per-shard'."
            )
        with self._locked(self._root / ".lock"):
            held = []
            for path in self._root.glob("*/shard-*"):
                if path.name.endswith(_EVICTED):
                    with contextlib.suppress(FileNotFoundError):
                        status = path.stat()
                        held.append((status.st_mtime_ns, status.st_size, path))
            total = sum(length for _, length, _ in held)
            for _, length, path in sorted(held):
                if total + size <= self.limit:
                    break
                path.unlink(missing_ok=True)
                total -= length

    @contextlib.contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        # The lock ends with its holder, even one that is killed. The file stays: removing it would be a race.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _touch(path: Path, size: int) -> bool:
    """Note that a file is in use, and tell whether it is there."""
    try:
        os.utime(path)
        return path.stat().st_size == size
    except FileNotFoundError:
        return False
