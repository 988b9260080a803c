"""What a manifest says about its shards: an entry for each, with the hash of its record's file.

A million entries are columns of numbers, 76 MB; an entry is made when it is asked for.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self, overload

import numpy as np
from numpy.typing import NDArray

from amix.engine.base.errors import ShardError
from amix.engine.base.publish import sha256_bytes
from amix.loaders.shards.fields import Fields
from amix.loaders.shards.layout import shard_name
from amix.loaders.shards.manifestjson import Columns
from amix.loaders.shards.records import ShardRecord

_SHARD_NAME = re.compile(r"shard-\d{8}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """What the manifest says about one shard.

    row_range: corpus rows [first, end).  tar_bytes: size of its tar.  record_sha256: of its record's file.
    """

    name: str
    row_range: tuple[int, int]
    samples: int
    tokens: int
    tar_bytes: int
    record_sha256: str

    @property
    def row_count(self) -> int:
        """Corpus rows, rejected ones too."""
        first, end = self.row_range
        return end - first

    def record(self, data: bytes, where: str) -> ShardRecord:
        """Return the record in `data`. Raises ShardError naming `where` unless it is the one of this entry."""
        record = ShardRecord.parse(data, where, self.name)
        if sha256_bytes(data) != self.record_sha256:
            raise ShardError(
                f"{where}: is the record of another run than the manifest. Build the folder again."
            )
        for name, found, wanted in (
            ("rows", record.row_range, self.row_range),
            ("samples", record.samples, self.samples),
            ("tokens", record.tokens, self.tokens),
        ):
            if found != wanted:
                raise ShardError(
                    f"{where}: its {name} is {found}, the manifest says {wanted}. Do not use this folder."
                )
        return record

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Return what `fields` of the manifest say. Raises ShardError naming the field that cannot be right."""
        return cls(
            name=fields.matching("name", _SHARD_NAME),
            row_range=fields.row_range("rows"),
            samples=fields.count("samples"),
            tokens=fields.count("tokens"),
            tar_bytes=fields.count("bytes"),
            record_sha256=fields.sha256("record_sha256"),
        )

    def document(self) -> dict[str, object]:
        """Return the entry as the manifest holds it."""
        return {
            "name": self.name,
            "rows": self.row_range,
            "samples": self.samples,
            "tokens": self.tokens,
            "bytes": self.tar_bytes,
            "record_sha256": self.record_sha256,
        }


class ShardEntries(Sequence[ShardEntry]):
    """The entries of a manifest, in order."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns

    @classmethod
    def of(cls, entries: Iterable[ShardEntry]) -> Self:
        """Return these entries."""
        listed = list(entries)
        numbers = [
            (int(each.name[-8:]), each.tar_bytes, *each.row_range, each.samples, each.tokens)
            for each in listed
        ]
        hashes = b"".join(bytes.fromhex(each.record_sha256) for each in listed)
        table = np.array(numbers, np.int64).reshape(len(listed), 6)
        return cls(Columns(table, np.frombuffer(hashes, np.uint8).reshape(len(listed), 32)))

    @property
    def samples(self) -> NDArray[np.int64]:
        """(shards,) how many samples each holds."""
        return self._columns.numbers[:, 4]

    @property
    def tar_bytes(self) -> NDArray[np.int64]:
        """(shards,) the size of each tar."""
        return self._columns.numbers[:, 1]

    def __len__(self) -> int:
        return len(self._columns.numbers)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ShardEntries):
            return NotImplemented
        mine, others = self._columns, other._columns
        return np.array_equal(mine.numbers, others.numbers) and np.array_equal(mine.hashes, others.hashes)

    __hash__ = None  # type: ignore[assignment]  # nobody needs it

    @overload
    def __getitem__(self, position: int) -> ShardEntry: ...
    @overload
    def __getitem__(self, position: slice) -> "ShardEntries": ...
    def __getitem__(self, position: int | slice) -> "ShardEntry | ShardEntries":
        numbers, hashes = self._columns.numbers[position], self._columns.hashes[position]
        if isinstance(position, slice):
            return ShardEntries(Columns(numbers, hashes))
        unit, tar_bytes, first, end, samples, tokens = numbers.tolist()
        return ShardEntry(
            name=shard_name(unit),
            row_range=(first, end),
            samples=samples,
            tokens=tokens,
            tar_bytes=tar_bytes,
            record_sha256=hashes.tobytes().hex(),
        )
