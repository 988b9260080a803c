"""The checksums of a shard's samples (`.crc.npy`), read as they are needed."""

from array import array
from dataclasses import dataclass

import numpy as np

from amix.engine.base.errors import ShardError
from amix.loaders.shards.layout import CRC_DTYPE, crc_header
from amix.loaders.shards.npy import HEADER_BYTES
from amix.loaders.shards.openfiles import OpenFile

_HELD = 16  # columns that stay in memory; of others, each checksum is read by itself


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
