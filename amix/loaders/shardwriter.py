"""Samples in, one published shard out: tar, index, checksums, record, in this order.

Axes: H heads, T tokens.
"""

import hashlib
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from amix.engine import canonical
from amix.engine.publish import atomic_writer, fsync_folder, sha256_bytes
from amix.loaders.codes import encode
from amix.loaders.layout import BLOCK, INDEX_DTYPE, Layout, padded
from amix.loaders.npy import npy_header

_ZEROS = bytes(BLOCK)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One text as it is stored: ids (T,), relevance (H, T) float32, and what belongs to it."""

    row: int
    ids: NDArray[Any]
    relevance: NDArray[np.float32]
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
    head = bytearray(BLOCK)
    head[0 : len(name)] = name.encode("ascii")
    head[100:108] = b"0000644\0"
    head[108:124] = b"0000000\0" * 2
    head[124:136] = b"%011o\0" % size
    head[136:148] = b"00000000000\0"
    head[148:156] = b" " * 8
    head[156:157] = b"0"
    head[257:265] = b"ustar\x0000"
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


class ShardWriter:
    """Writes one shard's samples in the order given, and publishes the four files together at the end."""

    def __init__(self, folder: Path, unit: int, layout: Layout) -> None:
        self._path = folder / shard_name(unit)
        self._unit = unit
        self._layout = layout

    def publish(self, samples: list[Sample], facts: dict[str, Any]) -> dict[str, Any]:
        """Write all files of the unit and return the record; the record's own file is the commit.

        facts: what the record says beside the files (rows, rejects, plan).
        """
        index = np.zeros(len(samples), INDEX_DTYPE)
        crc = np.zeros((len(samples), self._layout.crc_columns), "<u4")
        tar = self._path.with_suffix(".tar")
        with atomic_writer(tar) as file:
            hashed = _HashingFile(file)
            for position, sample in enumerate(samples):
                index[position] = (sample.row, hashed.position, len(sample.ids), sample.label)
                self._write_sample(hashed, sample, crc[position])
            hashed.write(_ZEROS * 2)
        files = {"tar": {"name": tar.name, "bytes": hashed.position, "sha256": hashed.hexdigest()}}
        for kind, array in (("index", index), ("crc", crc)):
            data = _npy_file(array)
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

    def _write_sample(self, file: "_HashingFile", sample: Sample, crc: NDArray[np.uint32]) -> None:
        layout, key, tokens = self._layout, sample_key(sample.row), len(sample.ids)
        stored_HT, scale_H = encode(sample.relevance, layout.dtype)
        arrays = {
            "input_ids": sample.ids,
            "relevance": stored_HT,
            "scale": scale_H,
            "token_type_ids": sample.token_type_ids,
            "labels": sample.labels,
        }
        sums: list[int] = []
        for name in layout.arrays:
            dtype, shape = layout.array(name, tokens)
            array = np.ascontiguousarray(arrays[name], dtype)
            assert array.shape == shape, (name, array.shape, shape)
            payload = array.tobytes()
            file.write_member(f"{key}.{name}.npy", npy_header(dtype, shape) + payload)
            sums += [zlib.crc32(row) for row in array] if name == "relevance" else [zlib.crc32(payload)]
        crc[:] = sums
        if layout.cls:
            file.write_member(f"{key}.cls", str(sample.label).encode())
        if layout.text:
            file.write_member(f"{key}.txt", (sample.text or "").encode())


class _HashingFile:
    """A binary file that knows its position and its sha256."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self.position = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._sha256.update(data)
        self.position += len(data)

    def write_member(self, name: str, data: bytes) -> None:
        self.write(tar_header(name, len(data)) + data + _ZEROS[: padded(len(data)) - len(data)])

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()


def _npy_file(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()
