"""Samples in, one published shard out: tar, index, checksums, record, in this order.

The place of every sample in the tar follows from the lengths of the texts. So the file gets its size first, and a full
disk is found before any work is done. Samples go to their places in whatever order their relevance comes, so that no
more than a batch of it is in memory.

Axes: H heads, T tokens.
"""

import contextlib
import errno
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amix.engine.base.publish import sha256_bytes, sha256_file
from amix.loaders.shards.codes import encode
from amix.loaders.shards.layout import (
    BLOCK,
    CRC_DTYPE,
    FILE_ENDINGS,
    INDEX_DTYPE,
    Layout,
    crc_header,
    index_header,
    sample_key,
    shard_name,
)
from amix.loaders.shards.npy import npy_header
from amix.loaders.shards.output import Destination, destination
from amix.loaders.shards.records import FileEntry, ShardFacts, ShardRecord
from amix.loaders.shards.tar import member


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What is stored of one text, without its relevance.

    row: of the corpus.  ids: (T,) of any integer type.  label: class id, -1 without.  labels: class weights.
    token_type_ids: (T,) of any integer type, or bool.
    """

    row: int
    ids: NDArray[np.integer[Any]]  # Any: of any width
    label: int = -1
    labels: tuple[float, ...] | None = None
    token_type_ids: NDArray[np.integer[Any] | np.bool_] | None = None  # Any: of any width
    text: str | None = None


class ShardWriter:
    """Writes one shard, and publishes its four files together at the end."""

    def __init__(self, out: Path | Destination, unit: int, layout: Layout) -> None:
        self._out = destination(out)
        self._name = shard_name(unit)
        self._unit = unit
        self._layout = layout

    def publish(
        self,
        samples: Sequence[Sample],
        relevance: Iterable[tuple[int, NDArray[np.float32]]],
        facts: ShardFacts,
    ) -> ShardRecord:
        """Write all files of the unit and return the record, whose own file is the commit. Arguments as in `write`."""
        return self.write(samples, relevance, facts)()

    def write(
        self,
        samples: Sequence[Sample],
        relevance: Iterable[tuple[int, NDArray[np.float32]]],
        facts: ShardFacts,
    ) -> Callable[[], ShardRecord]:
        """Write the tar, unpublished, and return what publishes all files of the unit, the record last.

        samples: in the order of the corpus.
        relevance: (position in samples, (H, T) float32) of every sample once, in any order.
        """
        tails = [self._tail(sample) for sample in samples]
        index = np.zeros(len(samples), INDEX_DTYPE)
        position = 0
        for number, (sample, tail) in enumerate(zip(samples, tails, strict=True)):
            index[number] = (sample.row, position, len(sample.ids), sample.label)
            position += self._layout.array_bytes(len(sample.ids)) + len(tail)
        size = position + 2 * BLOCK  # a tar ends with two empty blocks
        crc = np.zeros((len(self._layout.crc_names), len(samples)), CRC_DTYPE)
        tar = f"{self._name}.{FILE_ENDINGS['tar']}"
        with contextlib.ExitStack() as open_tar:
            file = open_tar.enter_context(self._out.file(tar))
            _reserve(file.fileno(), size)
            count = 0
            for number, relevance_HT in relevance:
                data = self._arrays(samples[number], relevance_HT, crc[:, number]) + tails[number]
                _write_at(file.fileno(), data, int(index["offset"][number]))
                count += 1
            assert count == len(samples), (count, len(samples))
            entry = FileEntry(tar, size, sha256_file(Path(file.name)))
            unpublished = open_tar.pop_all()

        def publish() -> ShardRecord:
            unpublished.close()
            record = ShardRecord(
                **vars(facts),
                unit=self._unit,
                samples=len(samples),
                tokens=int(index["tokens"].sum()),
                tar=entry,
                index=self._published("index", index_header(len(samples)) + index.tobytes()),
                crc=self._published("crc", crc_header(*crc.shape) + crc.tobytes()),
            )
            # The names of tar, index and checksums must be durable before the record that vouches for them.
            self._out.flush()
            self._out.commit(f"{self._name}.json", record.sealed())
            return record

        return publish

    def _published(self, kind: str, data: bytes) -> FileEntry:
        name = f"{self._name}.{FILE_ENDINGS[kind]}"
        self._out.write(name, data)
        return FileEntry(name, len(data), sha256_bytes(data))

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
            parts += member(f"{key}.{name}.npy", npy_header(dtype, shape), payload)
            if name == "relevance":
                view, row = memoryview(payload), len(payload) // len(array)
                sums += [zlib.crc32(view[head * row : (head + 1) * row]) for head in range(len(array))]
            else:
                sums.append(zlib.crc32(payload))
        crc[:] = sums
        return b"".join(parts)

    def _tail(self, sample: Sample) -> bytes:
        """Return the members of a sample that follow its arrays."""
        key, parts = sample_key(sample.row), []
        if self._layout.cls:
            parts += member(f"{key}.cls", str(sample.label).encode())
        if self._layout.text:
            parts += member(f"{key}.txt", (sample.text or "").encode())
        return b"".join(parts)


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
