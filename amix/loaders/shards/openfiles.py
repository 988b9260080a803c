"""Files that are read at any place, the checksums among them, and how many shards a process keeps open at a time."""

import mmap
import os
import resource
from array import array
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from amix.engine.base.errors import ShardError
from amix.loaders.shards.layout import CRC_DTYPE, crc_header
from amix.loaders.shards.npy import HEADER_BYTES

_FILES = 2  # of an open shard: tar and checksums
_MOST = 1 << 14  # shards at most; a process may have 65,530 mapped regions by default
# Samples in them at most: each takes 24 bytes of an index, and 4 of a checksum for each head that is read.
_SAMPLES = 1 << 24

_HELD = 16  # columns that stay in memory; of others, each checksum is read by itself


class Closable(Protocol):
    """An open shard."""

    def __len__(self) -> int:
        """Return how many samples it has."""

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
        self._samples = 0

    def add(self, shard: Closable) -> None:
        """Note that `shard` was opened."""
        self._opened.append(shard)
        self._samples += len(shard)
        while len(self._opened) > self._most or (self._samples > _SAMPLES and len(self._opened) > 1):
            first = self._opened.popleft()
            self._samples -= len(first)
            first.close()


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


class Checksums(dict[int, "array[int] | _Column"]):
    """The CRC-32 of each sample in a column, by the number of the column (`Layout.crc_names`).

    samples: of the shard; None = as many as the file has.
    Raises ShardError when the file has another shape.
    """

    def __init__(self, file: OpenFile, columns: int, samples: int | None = None) -> None:
        super().__init__()
        row = columns * CRC_DTYPE.itemsize
        self.samples = (file.size - HEADER_BYTES) // row if samples is None else samples
        header = crc_header(columns, max(0, self.samples))
        if file.size != HEADER_BYTES + row * self.samples or file.read(0, HEADER_BYTES) != header:
            raise ShardError(
                f"{file.path}: has another shape than its record; remove it and run the same 'amix precompute' again."
            )
        self._file = file
        self._size = self.samples * CRC_DTYPE.itemsize

    def __missing__(self, number: int) -> "array[int] | _Column":
        begin = HEADER_BYTES + number * self._size
        if len(self) >= _HELD:
            return _Column(self._file, begin)
        self[number] = array("I", np.frombuffer(self._file.read(begin, self._size), CRC_DTYPE).tolist())
        return self[number]


@dataclass(frozen=True)
class _Column:
    """A column that stays in its file."""

    file: OpenFile
    begin: int

    def __getitem__(self, position: int) -> int:
        size = CRC_DTYPE.itemsize
        return int.from_bytes(self.file.read(self.begin + position * size, size), "little")


def _allowed() -> int:
    """Return how many shards take three quarters of the files that this process may have open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return _MOST
    return max(1, min(_MOST, files * 3 // 4 // _FILES))
