"""One shard, read through its index: a memory map and a slice, with the checksum of exactly the bytes read.

Axes: H heads, T tokens.
"""

import mmap
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from amix.engine.errors import ShardError
from amix.engine.publish import sha256_bytes
from amix.loaders.codes import decode
from amix.loaders.layout import INDEX_DTYPE, Layout


class StoredSample(NamedTuple):
    """What is read of one sample.

    ids: (T,) as stored.  relevance: (H, T) float32 of the heads asked for, in that order; None without heads.
    label: class id, or -1.  labels: (C,) float32.  token_type_ids: (T,) uint8.
    """

    row: int
    ids: NDArray[Any]
    relevance: NDArray[np.float32] | None
    label: int
    labels: NDArray[np.float32] | None
    token_type_ids: NDArray[np.uint8] | None


class ShardReader:
    """Random access to the samples of one shard. Files are opened at the first read, so it pickles small."""

    def __init__(self, folder: Path, record: Mapping[str, Any], layout: Layout) -> None:
        self._folder = folder
        self._record = record
        self._layout = layout
        self._map: mmap.mmap | None = None
        self._index: NDArray[Any] | None = None
        self._crc: NDArray[np.uint32] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None, "_index": None, "_crc": None}

    def __len__(self) -> int:
        return int(self._record["samples"])

    @property
    def path(self) -> Path:
        """Of the tar."""
        return self._folder / str(self._record["files"]["tar"]["name"])

    @property
    def index(self) -> NDArray[Any]:
        """(samples,) of `INDEX_DTYPE`: row, offset, tokens, label. Checked against the record's hash."""
        if self._index is None:
            entry = self._record["files"]["index"]
            path = self._folder / entry["name"]
            try:
                data = path.read_bytes()
            except OSError as problem:
                raise ShardError(f"{path}: cannot be read ({problem.strerror}).") from None
            if sha256_bytes(data) != entry["sha256"]:
                raise ShardError(
                    f"{path}: does not match its record. Remove it and run the same 'amix precompute' again."
                )
            self._index = np.frombuffer(
                data, INDEX_DTYPE, offset=len(data) - len(self) * INDEX_DTYPE.itemsize
            )
        return self._index

    def read(self, position: int, heads: Sequence[int] = ()) -> StoredSample:
        """Return one sample with the relevance of `heads` (positions among the stored ones).

        Raises ShardError naming tar and key when bytes do not match their checksum.
        """
        row, offset, tokens, label = (int(value) for value in self.index[position])
        if self._map is None or self._crc is None:
            self._open()
        assert self._map is not None
        assert self._crc is not None
        data, crc, layout = self._map, self._crc[position], self._layout
        places = layout.payloads(tokens)

        def take(name: str, begin: int, size: int, column: int) -> bytes:
            payload = data[begin : begin + size]
            if len(payload) != size or zlib.crc32(payload) != crc[column]:
                raise ShardError(
                    f"{self.path}: sample {row:012d}: the bytes of {name} do not match their checksum. The shard is "
                    "damaged; remove it and run the same 'amix precompute' again."
                )
            return payload

        arrays: dict[str, NDArray[Any]] = {}
        for name in layout.arrays:
            if name == "relevance" or (name == "scale" and not heads):
                continue
            # Columns: the ids, each head's row, then the other arrays in their order.
            column = 0 if name == "input_ids" else layout.heads + layout.arrays.index(name) - 1
            begin, size = places[name]
            arrays[name] = np.frombuffer(
                take(name, offset + begin, size, column), layout.array(name, tokens)[0]
            )

        relevance = None
        if heads:
            begin, size = places["relevance"]
            stride = size // layout.heads
            rows = [
                take(f"relevance row {head}", offset + begin + head * stride, stride, 1 + head)
                for head in heads
            ]
            stored_HT = np.frombuffer(b"".join(rows), layout.relevance_dtype).reshape(len(heads), tokens)
            scale_H = arrays["scale"][list(heads)] if "scale" in arrays else None
            relevance = decode(stored_HT, scale_H)
        return StoredSample(
            row, arrays["input_ids"], relevance, label, arrays.get("labels"), arrays.get("token_type_ids")
        )

    def _open(self) -> None:
        entry = self._record["files"]["crc"]
        path = self._folder / entry["name"]
        try:
            # The tar may grow to gigabytes and the checksums of many heads too: map both, read what is asked for.
            with self.path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            crc = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as problem:
            raise ShardError(
                f"{path}: cannot be read ({problem}). Run the same 'amix precompute' again."
            ) from None
        if crc.dtype != np.dtype("<u4") or crc.shape != (len(self), self._layout.crc_columns):
            raise ShardError(
                f"{path}: has another shape than its record. Remove it and run 'amix precompute' again."
            )
        self._crc = crc
