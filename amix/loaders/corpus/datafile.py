"""A file of a corpus: its format and packing, which its name tells."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from amix.loaders.stores import RemoteFile

Format = Literal["jsonl", "csv", "parquet", "arrow"]
Compression = Literal["gz", "zst"]

KNOWN = ".jsonl, .json, .csv or .tsv, each also with .gz or .zst, or .parquet or .arrow"
_FORMATS: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
_COMPRESSIONS: dict[str, Compression] = {".gz": "gz", ".zst": "zst"}
_NEVER_PACKED = frozenset({"parquet", "arrow"})  # compressed inside, if at all


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file and how to read it.

    path: where it is, on this machine or in a store.
    name: what it is called in documents and messages: its path below the folder of the corpus.
    """

    path: Path | RemoteFile
    format: Format
    compression: Compression | None
    name: str

    def __reduce__(self) -> tuple[type["DataFile"], tuple[object, ...]]:
        # Sent to a process that may be in another folder, the path has to be absolute.
        return DataFile, (self.path.absolute(), self.format, self.compression, self.name)

    @property
    def plain_name(self) -> str:
        """The name without the ending of a packed file."""
        return self.name if self.compression is None else self.name[: -len(self.compression) - 1]


def format_of(path: Path | RemoteFile, name: str | None = None) -> DataFile | None:
    """Return how to read `path`, judged by its name, or None when the name does not say."""
    ending = path.name.lower()
    compression = _COMPRESSIONS.get(Path(ending).suffix)
    if compression is not None:
        ending = Path(ending).stem
    format_ = _FORMATS.get(Path(ending).suffix)
    if format_ is None or (format_ in _NEVER_PACKED and compression is not None):
        return None
    return DataFile(path, format_, compression, printable(path.name if name is None else name))


def printable(name: str) -> str:
    """Return a name with the bytes that are not UTF-8 as escapes, since no document can hold them."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
