"""The record of a shard: its rows, and the size and hash of each file. It is written last, as the commit."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from amix.engine.base import canonical
from amix.engine.base.errors import ShardError
from amix.engine.base.lfs import is_pointer, pointer_refusal
from amix.loaders.shards.fields import Fields, count, text
from amix.loaders.shards.layout import FILE_ENDINGS, shard_name
from amix.loaders.shards.recipe import Recipe


class Reject(NamedTuple):
    """A corpus row that has no sample, and why."""

    row: int
    reason: str


@dataclass(frozen=True)
class FileEntry:
    """A file that a record vouches for. bytes: its size."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ShardFacts:
    """What a record says about a shard's rows; its writer adds the rest.

    row_range: corpus rows [first, end), rejected ones too.  rows_sha256: hash of what was read in these rows.
    truncated: texts that were cut at the maximum length.  Repacked shards have neither of the two.
    """

    row_range: tuple[int, int]
    rejects: tuple[Reject, ...] = ()
    recipe: Recipe
    rows_sha256: str | None = None
    truncated: int | None = None

    @property
    def row_count(self) -> int:
        """Corpus rows, rejected ones too."""
        first, end = self.row_range
        return end - first


@dataclass(frozen=True, kw_only=True)
class ShardRecord(ShardFacts):
    """What the record of a shard says.

    unit: number of the shard.  samples, tokens: how many it holds.  tar, index, crc: its files.
    """

    unit: int
    samples: int
    tokens: int
    tar: FileEntry
    index: FileEntry
    crc: FileEntry

    @property
    def name(self) -> str:
        """The name of the shard's files without their endings."""
        return shard_name(self.unit)

    @property
    def files(self) -> tuple[FileEntry, FileEntry, FileEntry]:
        """Every file but the record itself."""
        return self.tar, self.index, self.crc

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a record from its file. Raises ShardError naming the file when it cannot be a record of that name."""
        return cls.parse(read_bytes(path), str(path), path.stem)

    @classmethod
    def parse(cls, data: bytes, where: str, name: str) -> Self:
        """Return the record in `data`. Raises ShardError naming `where` unless it is a record of the shard `name`."""
        fields = Fields(canonical.unseal(data, where, error=ShardError), where)
        unit = fields.count("unit")
        if shard_name(unit) != name:
            raise fields.refused("unit")
        files = fields.inner("files")
        tar, index, crc = (_file(files, kind, f"{name}.{ending}") for kind, ending in FILE_ENDINGS.items())
        return cls(
            unit=unit,
            row_range=fields.row_range("rows"),
            rejects=fields.items("rejects", _reject),
            recipe=Recipe(fields.mapping("plan")),
            rows_sha256=fields.sha256("rows_sha256") if "rows_sha256" in fields else None,
            truncated=fields.count("truncated") if "truncated" in fields else None,
            samples=fields.count("samples"),
            tokens=fields.count("tokens"),
            tar=tar,
            index=index,
            crc=crc,
        )

    def sealed(self) -> bytes:
        """Return the bytes of the record's file."""
        files = zip(FILE_ENDINGS, self.files, strict=True)
        optional = {"rows_sha256": self.rows_sha256, "truncated": self.truncated}
        return canonical.seal(
            {
                "unit": self.unit,
                "rows": list(self.row_range),
                "rejects": [list(reject) for reject in self.rejects],
                "plan": self.recipe.document,
                "samples": self.samples,
                "tokens": self.tokens,
                "files": {kind: vars(file) for kind, file in files},
                **{name: value for name, value in optional.items() if value is not None},
            }
        )

    def require_files(self, folder: Path) -> None:
        """Raise ShardError unless tar, index and checksums are in `folder` with their sizes."""
        for file in self.files:
            path = folder / file.name
            if path.is_symlink() or not path.is_file():
                raise ShardError(f"{path}: is missing (or is a link). Run the same 'amix precompute' again.")
            size = path.stat().st_size
            if size != file.bytes and is_pointer(path):
                raise ShardError(pointer_refusal(path))
            if size != file.bytes:
                raise ShardError(
                    f"{path}: has {size} bytes, the record says {file.bytes}. The file is damaged; "
                    "remove it and run the same 'amix precompute' again."
                )


def recipe_in(data: bytes, where: str) -> Recipe:
    """Return the recipe in the bytes of a record, whatever else they say: another version has other fields.

    Raises ShardError naming `where` for bytes that are damaged, or hold no recipe.
    """
    return Recipe(Fields(canonical.unseal(data, where, error=ShardError), where).mapping("plan"))


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a document. Raises ShardError naming the file."""
    if is_pointer(path):
        raise ShardError(pointer_refusal(path))
    try:
        return path.read_bytes()
    except OSError as problem:
        raise ShardError(
            f"{path}: cannot be read ({problem.strerror}). Run the same 'amix precompute' again."
        ) from None


def _file(files: Fields, kind: str, name: str) -> FileEntry:
    entry = files.inner(kind)
    if entry.text("name") != name:
        raise entry.refused("name")
    return FileEntry(name=name, bytes=entry.count("bytes"), sha256=entry.sha256("sha256"))


def _reject(value: object) -> Reject | None:
    if not (isinstance(value, list) and len(value) == 2):
        return None
    row, reason = count(value[0]), text(value[1])
    return None if row is None or reason is None else Reject(row, reason)
