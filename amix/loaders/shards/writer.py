"""Samples in, one published shard out: tar, index, checksums, record, in this order.

Where every sample stands in the tar follows from the lengths of the texts. So the file gets its size first, which finds
out about a full disk before any work is done, and samples go to their places in whatever order their relevance
comes: no more than a batch of it is ever in memory.

Axes: H heads, T tokens.
"""

import errno
import functools
import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amix.engine.base import canonical
from amix.engine.base.publish import atomic_writer, fsync_folder, sha256_bytes, sha256_file
from amix.loaders.shards.codes import encode
from amix.loaders.shards.layout import BLOCK, CRC_DTYPE, INDEX_DTYPE, Layout, crc_header, index_header, padded
from amix.loaders.shards.npy import npy_header

_ZEROS = bytes(BLOCK)
_KEY = 12  # characters of a key


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One text as it is stored, but for its relevance: ids (T,), and what belongs to it."""

    row: int
    ids: NDArray[Any]
    label: int = -1
    labels: tuple[float, ...] | None = None
    token_type_ids: NDArray[Any] | None = None
    text: str | None = None


def shard_name(unit: int) -> str:
    """Return the name of a unit's files without their endings."""
    return f"shard-{unit:08d}"


def sample_key(row: int) -> str:
    """Return the key of a sample: its row number, 12 digits."""
    return f"{row:012d}"


def tar_header(name: str, size: int) -> bytes:
    """Return a POSIX ustar header with mode 644, owner 0 and time 0, so that equal samples give equal bytes."""
    key = name[:_KEY].encode("ascii")
    rest, total = _keyless_header(len(key), name[_KEY:], size)
    return b"%b%b%06o\0 %b" % (key, rest[: 148 - len(key)], total + sum(key), rest[156 - len(key) :])


@functools.lru_cache(1 << 14)  # members differ by their keys, and have few names and sizes
def _keyless_header(length: int, rest: str, size: int) -> tuple[bytes, int]:
    """Return a header from behind a key of `length` bytes on, and the sum of its bytes."""
    head = bytearray(BLOCK)
    head[length : length + len(rest)] = rest.encode("ascii")
    head[100:108] = b"0000644\0"
    head[108:124] = b"0000000\0" * 2
    head[124:136] = b"%011o\0" % size
    head[136:148] = b"00000000000\0"
    head[148:156] = b" " * 8  # what the checksum counts in its own place
    head[156:157] = b"0"
    head[257:265] = b"ustar\x0000"
    return bytes(head[length:]), sum(head)


class ShardWriter:
    """Writes one shard, and publishes its four files together at the end."""

    def __init__(self, folder: Path, unit: int, layout: Layout) -> None:
        self._path = folder / shard_name(unit)
        self._unit = unit
        self._layout = layout

    def publish(
        self,
        samples: Sequence[Sample],
        relevance: Iterable[tuple[int, NDArray[np.float32]]],
        facts: dict[str, Any],
    ) -> dict[str, Any]:
        """Write all files of the unit and return the record; the record's own file is the commit.

        samples: in the order of the corpus.
        relevance: (position in samples, (H, T) float32) of every sample once, in any order.
        facts: what the record says beside the files (rows, rejects, plan).
        """
        tails = [self._tail(sample) for sample in samples]
        index = np.zeros(len(samples), INDEX_DTYPE)
        position = 0
        for number, (sample, tail) in enumerate(zip(samples, tails, strict=True)):
            index[number] = (sample.row, position, len(sample.ids), sample.label)
            position += self._layout.array_bytes(len(sample.ids)) + len(tail)
        size = position + 2 * BLOCK  # a tar ends with two empty blocks
        crc = np.zeros((len(self._layout.crc_names), len(samples)), CRC_DTYPE)
        tar = self._path.with_suffix(".tar")
        with atomic_writer(tar) as file:
            _reserve(file.fileno(), size)
            count = 0
            for number, relevance_HT in relevance:
                data = self._arrays(samples[number], relevance_HT, crc[:, number]) + tails[number]
                _write_at(file.fileno(), data, int(index["offset"][number]))
                count += 1
            assert count == len(samples), (count, len(samples))
            sha256 = sha256_file(Path(file.name))
        files = {"tar": {"name": tar.name, "bytes": size, "sha256": sha256}}
        for kind, header, array in (
            ("index", index_header(len(samples)), index),
            ("crc", crc_header(*crc.shape), crc),
        ):
            data = header + array.tobytes()
            path = self._path.with_suffix(f".{kind}.npy")
            with atomic_writer(path) as file:
                file.write(data)
            files[kind] = {"name": path.name, "bytes": len(data), "sha256": sha256_bytes(data)}

        record = {
            **facts,
            "unit": self._unit,
            "samples": len(samples),
            "tokens": int(index["tokens"].sum()),
            "files": files,
        }
        # The names of tar, index and checksums must be durable before the record that vouches for them.
        fsync_folder(self._path.parent)
        with atomic_writer(self._path.with_suffix(".json")) as file:
            file.write(canonical.seal(record))
        fsync_folder(self._path.parent)
        return record

    def _arrays(self, sample: Sample, relevance_HT: NDArray[np.float32], crc: NDArray[np.uint32]) -> bytes:
        """Return the members of a sample that are arrays, and fill in their checksums."""
        layout, key, tokens = self._layout, sample_key(sample.row), len(sample.ids)
        stored_HT, scale_H = encode(relevance_HT, layout.dtype)
        arrays = {
            "input_ids": sample.ids,
            "relevance": stored_HT,
            "scale": scale_H,
            "token_type_ids": sample.token_type_ids,
            "labels": sample.labels,
        }
        sums: list[int] = []
        parts: list[bytes] = []
        for name in layout.arrays:
            dtype, shape = layout.array(name, tokens)
            array = np.ascontiguousarray(arrays[name], dtype)
            assert array.shape == shape, (name, array.shape, shape)
            payload = array.tobytes()
            parts += _member(f"{key}.{name}.npy", npy_header(dtype, shape), payload)
            if name == "relevance":
                view, row = memoryview(payload), len(payload) // len(array)
                sums += [zlib.crc32(view[head * row : (head + 1) * row]) for head in range(len(array))]
            else:
                sums.append(zlib.crc32(payload))
        crc[:] = sums
        return b"".join(parts)

    def _tail(self, sample: Sample) -> bytes:
        """Return the members of a sample that are no arrays; they stand behind the arrays."""
        key, parts = sample_key(sample.row), []
        if self._layout.cls:
            parts += _member(f"{key}.cls", str(sample.label).encode())
        if self._layout.text:
            parts += _member(f"{key}.txt", (sample.text or "").encode())
        return b"".join(parts)


def _member(name: str, *parts: bytes) -> list[bytes]:
    """Return a member of a tar in pieces: header, content, filling."""
    size = sum(len(part) for part in parts)
    return [tar_header(name, size), *parts, _ZEROS[: padded(size) - size]]


def _reserve(descriptor: int, size: int) -> None:
    """Give a file its size, and its room on the disk where the file system can."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as problem:
        if problem.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        os.ftruncate(descriptor, size)


def _write_at(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
