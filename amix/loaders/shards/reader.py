"""One shard, read through its index: a memory map and a slice, with the checksum of exactly the bytes read."""

import contextlib
import mmap
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from amix.engine.base.errors import ShardError
from amix.engine.base.publish import sha256_bytes
from amix.loaders.shards.layout import INDEX_DTYPE, INDEX_HEADER_BYTES, crc_header, index_header, sample_key
from amix.loaders.shards.manifest import Manifest
from amix.loaders.shards.npy import HEADER_BYTES
from amix.loaders.shards.openfiles import OpenShards, mapped
from amix.loaders.shards.records import FileEntry, ShardRecord

_ENTRY = struct.Struct("<qqii")  # INDEX_DTYPE
_CRC = struct.Struct("<I")
_TRIES = 3
_AGAIN = "remove it and run the same 'amix precompute' again."


class StoredSample(NamedTuple):
    """The bytes of one sample, as stored and checked.

    tar: path of its shard.  tokens: how many.  label: class id, or -1.  ids: of `Layout.ids_dtype`.
    relevance: of `Layout.relevance_dtype`, one row for each head asked for, in that order.
    others: payloads of the further arrays by name; `scale` only with heads.
    """

    tar: Path
    row: int
    tokens: int
    label: int
    ids: bytes
    relevance: list[bytes]
    others: dict[str, bytes]


class ShardReader:
    """Random access to the samples of one shard.

    Files are opened at the first read, and again after `close`. Pickles stay small.
    path: of the tar.
    open_shards: bounds how many readers have their files open.
    provide: fetches a file before it is opened; None for local files.
    """

    def __init__(
        self,
        manifest: Manifest,
        record: ShardRecord,
        open_shards: OpenShards | None = None,
        provide: Callable[[FileEntry], object] | None = None,
    ) -> None:
        layout = manifest.layout
        # Not the record itself, whose recipe and rejects would be pickled with every data set.
        self._tar, self._index_file, self._crc = record.files
        self.path = manifest.folder / self._tar.name
        self._index_path = manifest.folder / self._index_file.name
        self._crc_path = manifest.folder / self._crc.name
        self._samples = record.samples
        self._layout = layout
        self._labels = range(len(manifest.label_names or ())) if layout.cls else range(-1, 0)
        self._open_shards = open_shards
        self._provide = provide
        self._others = [name for name in layout.arrays if name not in ("input_ids", "relevance")]
        self._index: bytes | None = None
        self._maps: tuple[mmap.mmap, mmap.mmap] | None = None

    def __getstate__(self) -> dict[str, Any]:  # Any: attributes of all types
        return {**self.__dict__, "_maps": None, "_index": None}

    def __len__(self) -> int:
        return self._samples

    @property
    def index(self) -> NDArray[Any]:  # Any: NumPy has no type for records
        """(samples,) of `INDEX_DTYPE`: row, offset, tokens, label."""
        return np.frombuffer(self._entries(), INDEX_DTYPE, offset=INDEX_HEADER_BYTES)

    def read(self, position: int, heads: Sequence[int] = ()) -> StoredSample:
        """Return one sample with the relevance of `heads` (positions among the stored ones).

        Raises ShardError naming tar and key when bytes do not match their checksum.
        """
        entries = self._index or self._entries()
        row, offset, tokens, label = _ENTRY.unpack_from(entries, INDEX_HEADER_BYTES + position * _ENTRY.size)
        tar, crc = self._maps or self._open()
        places = self._layout.payloads(tokens)
        # Bytes from the start of the file to this sample's checksum in the first column, and from a column to the next.
        first, column = HEADER_BYTES + position * _CRC.size, self._samples * _CRC.size

        begin, size = places["input_ids"]
        begin += offset
        ids = tar[begin : begin + size]
        if crc32(ids) != _CRC.unpack_from(crc, first)[0] or len(ids) != size:
            raise self._damage(row, 0)
        relevance = []
        if heads:
            begin, size = places["relevance"]
            begin, size = begin + offset, size // self._layout.heads
            for head in heads:
                data = tar[begin + head * size : begin + (head + 1) * size]
                if crc32(data) != _CRC.unpack_from(crc, first + (1 + head) * column)[0] or len(data) != size:
                    raise self._damage(row, 1 + head)
                relevance.append(data)
        others = {}
        for name in self._others:
            if heads or name != "scale":
                begin, size = places[name]
                begin, number = begin + offset, self._layout.crc_column(name)
                data = tar[begin : begin + size]
                if crc32(data) != _CRC.unpack_from(crc, first + number * column)[0] or len(data) != size:
                    raise self._damage(row, number)
                others[name] = data
        return StoredSample(self.path, row, tokens, label, ids, relevance, others)

    def fetch(self) -> None:
        """Fetch the files of a remote shard, unless they are open."""
        if self._provide is not None and self._maps is None:
            for file in (self._tar, self._crc):
                self._provide(file)

    def close(self) -> None:
        """Release the files, which close when no other thread reads them any more."""
        self._maps = None

    def _damage(self, row: int, column: int) -> ShardError:
        return ShardError(
            f"{self.path}: sample {sample_key(row)}: the bytes of {self._layout.crc_names[column]} do not match "
            f"their checksum. The shard is damaged; {_AGAIN}"
        )

    def _entries(self) -> bytes:
        """Return the index file. The first time, it is compared with the record, and its entries are checked."""
        if self._index is None:
            path = self._index_path
            try:
                data = path.read_bytes()
            except OSError as problem:
                raise ShardError(f"{path}: cannot be read ({problem.strerror}).") from None
            if sha256_bytes(data) != self._index_file.sha256:
                raise ShardError(f"{path}: does not match its record; {_AGAIN}")
            _require_header(path, data, index_header(self._samples), self._samples * _ENTRY.size)
            index = np.frombuffer(data, INDEX_DTYPE, offset=INDEX_HEADER_BYTES)
            is_label = (index["label"] >= self._labels.start) & (index["label"] < self._labels.stop)
            # A negative offset would be read from the end of the file.
            if (index["offset"] < 0).any() or (index["tokens"] < 0).any() or not is_label.all():
                raise ShardError(f"{path}: holds offsets or class ids that cannot exist; {_AGAIN}")
            self._index = data
        return self._index

    def _open(self) -> tuple[mmap.mmap, mmap.mmap]:
        # The tar may have gigabytes, and the checksums of many heads too: both are mapped, not read.
        columns = len(self._layout.crc_names)
        tar, crc = self._fetched()
        _require_header(
            self._crc_path, crc, crc_header(columns, self._samples), columns * self._samples * _CRC.size
        )
        self._maps = (tar, crc)
        if self._open_shards is not None:
            self._open_shards.add(self)
        return self._maps

    def _fetched(self) -> tuple[mmap.mmap, mmap.mmap]:
        """Map tar and checksums. What was fetched may be evicted before it is opened, so it is tried again."""
        for _ in range(_TRIES if self._provide else 0):
            self.fetch()
            with contextlib.suppress(ShardError):
                return mapped(self.path), mapped(self._crc_path)
        return mapped(self.path), mapped(self._crc_path)


def _require_header(path: Path, data: bytes | mmap.mmap, header: bytes, size: int) -> None:
    if data[: len(header)] != header or len(data) != len(header) + size:
        raise ShardError(f"{path}: has another shape than its record; {_AGAIN}")
