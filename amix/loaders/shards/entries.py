"""The lines of a manifest: what it says about each shard."""

import re
from dataclasses import dataclass
from typing import Self

from amix.engine.base.errors import ShardError
from amix.engine.base.publish import sha256_bytes
from amix.loaders.shards.fields import Fields
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
