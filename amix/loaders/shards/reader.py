"""One shard, read through its index: the bytes that are wanted and no others, each with its checksum."""

import contextlib
import mmap
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from amix.engine.base.errors import ShardError
from amix.engine.base.publish import sha256_bytes
from amix.loaders.shards.layout import INDEX_DTYPE, INDEX_HEADER_BYTES, Wanted, index_header, sample_key
from amix.loaders.shards.manifest import Manifest
from amix.loaders.shards.openfiles import Checksums, OpenFile, OpenShards, cut, mapped
from amix.loaders.shards.records import FileEntry, ShardRecord

_ENTRY = struct.Struct("<qqii")  # INDEX_DTYPE
_TRIES = 3
_AGAIN = "remove it and run the same 'amix precompute' again."


class StoredSample(NamedTuple):
    """The bytes of one sample, as stored and checked.

    tar: path or URL of its shard.  key: its corpus row, as the shard names it.  tokens: how many.
    label: class id, or -1.  ids: of `Layout.ids_dtype`.
    relevance: of `Layout.relevance_dtype`, one row for each head asked for, in that order.
    others: payloads of the further arrays by name; `scale` only with heads.
    """

    tar: Path | str
    key: str
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
        self._index: bytes | None = None
        self._files: tuple[mmap.mmap, Checksums] | None = None

    def __getstate__(self) -> dict[str, Any]:  # Any: attributes of all types
        return {**self.__dict__, "_files": None, "_index": None}

    def __len__(self) -> int:
        return self._samples

    @property
    def index(self) -> NDArray[Any]:  # Any: NumPy has no type for records
        """(samples,) of `INDEX_DTYPE`: row, offset, tokens, label."""
        return np.frombuffer(self._entries(), INDEX_DTYPE, offset=INDEX_HEADER_BYTES)

    def read(self, position: int, wanted: Wanted) -> StoredSample:
        """Return what is wanted of one sample.

        Raises ShardError naming tar and key when bytes do not match their checksum, or are not there any more.
        """
        entries = self._index or self._entries()
        row, offset, tokens, label = _ENTRY.unpack_from(entries, INDEX_HEADER_BYTES + position * _ENTRY.size)
        tar, sums = self._files or self._open()
        # `size` asks the system: to touch a byte that is gone would end the process (SIGBUS).
        if tar.size() < self._tar.bytes:
            raise cut(self.path, self._tar.bytes, tar.size())
        read = []
        for begin, size, column in wanted[tokens]:
            begin += offset
            data = tar[begin : begin + size]
            if crc32(data) != sums[column][position] or len(data) != size:
                raise self._damage(row, column)
            read.append(data)
        first = 1 + len(wanted.heads)
        others = dict(zip(wanted.others, read[first:], strict=True)) if wanted.others else {}
        return StoredSample(self.path, sample_key(row), tokens, label, read[0], read[1:first], others)

    @property
    def is_open(self) -> bool:
        """Whether its files are open, so that there is nothing to fetch."""
        return self._files is not None

    def fetch(self) -> None:
        """Fetch the files of a remote shard, unless they are open."""
        if self._provide is not None and not self.is_open:
            for file in (self._tar, self._crc):
                self._provide(file)

    def close(self) -> None:
        """Let go of files, index and checksums; files close when no other thread reads them any more."""
        self._files = self._index = None

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
            header = index_header(self._samples)
            if not data.startswith(header) or len(data) != len(header) + self._samples * _ENTRY.size:
                raise ShardError(f"{path}: has another shape than its record; {_AGAIN}")
            index = np.frombuffer(data, INDEX_DTYPE, offset=INDEX_HEADER_BYTES)
            is_label = (index["label"] >= self._labels.start) & (index["label"] < self._labels.stop)
            # A negative offset would be read from the end of the file.
            if (index["offset"] < 0).any() or (index["tokens"] < 0).any() or not is_label.all():
                raise ShardError(f"{path}: holds offsets or class ids that cannot exist; {_AGAIN}")
            self._index = data
        return self._index

    def _open(self) -> tuple[mmap.mmap, Checksums]:
        tar, crc = self._fetched()
        self._files = tar, Checksums(crc, len(self._layout.crc_names), self._samples)
        if self._open_shards is not None:
            self._open_shards.add(self)
        return self._files

    def _fetched(self) -> tuple[mmap.mmap, OpenFile]:
        """Open tar and checksums. What was fetched may be evicted before it is opened, so it is tried again."""
        for _ in range(_TRIES if self._provide else 0):
            self.fetch()
            with contextlib.suppress(ShardError):
                return mapped(self.path, self._tar.bytes), OpenFile(self._crc_path)
        return mapped(self.path, self._tar.bytes), OpenFile(self._crc_path)
