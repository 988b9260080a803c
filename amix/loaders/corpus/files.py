"""A corpus in local files: one reader for each, in order. The bytes of the files are its identity."""

from collections.abc import Generator, Sequence
from typing import Protocol

from amix.engine.base.errors import CorpusError
from amix.engine.base.publish import sha256_file
from amix.loaders.corpus.find import DataFile
from amix.loaders.corpus.rows import CorpusOptions, columns_of, require_columns
from amix.loaders.corpus.source import LabelType, Record
from amix.loaders.corpus.formats.unpacked import reading


class Reader(Protocol):
    """One file."""

    row_count: int | None  # None: not known before the rows are read

    def columns(self) -> Sequence[str] | None:
        """Return the names of the columns, or None for a file that has no rows to take them from."""
        ...

    def require_text(self, column: str) -> None:
        """Raise CorpusError where the schema says that a column cannot hold text."""
        ...

    def label_type(self, column: str) -> LabelType:
        """Return what the schema says about a label column."""
        ...

    def records(self, columns: Sequence[str], start: int, base: int) -> Generator[Record, None, int]:
        """Yield the records from row `start` of this file on, numbered from `base`; return the row count."""
        ...


class FileSource:
    """Files of one format, in order."""

    def __init__(self, what: str, files: Sequence[DataFile], options: CorpusOptions) -> None:
        """Hash the files and check their columns. Raises CorpusError."""
        self.what = what
        self.strings_only = files[0].format == "csv"
        self.identity: dict[str, object] = {
            "kind": "files",
            "format": files[0].format,
            "files": [_fingerprint(file) for file in files],
        }
        # Reasons of rejects are written into the shards, so they name the number of a file, not its path.
        places = [""] if len(files) == 1 else [f"file {number}, " for number in range(1, len(files) + 1)]
        wanted = columns_of(options)
        self._readers = [_reader(file, place, wanted) for file, place in zip(files, places, strict=True)]
        for file, reader in zip(files, self._readers, strict=True):
            _require_columns(file, reader, options)
        counts = [reader.row_count for reader in self._readers]
        self.row_count = None if None in counts else sum(filter(None, counts))

    def label_type(self, column: str) -> LabelType:
        """Return what the schemas say about a label column, if all of them say the same."""
        types = {reader.label_type(column): None for reader in self._readers}
        names = [type_.names for type_ in types if type_.names is not None]
        if len(set(names)) > 1 or (names and len(types) > 1):
            seen = " and ".join(", ".join(type_.names or ("no names",)) for type_ in types)
            raise CorpusError(f"{self.what}: the files name the classes of {column!r} differently: {seen}.")
        return next(iter(types)) if len(types) == 1 else LabelType()

    def records(self, columns: Sequence[str], start: int = 0) -> Generator[Record, None, None]:
        """Yield records from row number `start` on."""
        base = 0
        for reader in self._readers:
            base += yield from reader.records(columns, max(0, start - base), base)


def _fingerprint(file: DataFile) -> dict[str, object]:
    with reading(file.path):
        size = file.path.stat().st_size
        if size == 0:
            raise CorpusError(f"{file.path}: is empty. Name a corpus with at least one text.")
        return {"sha256": sha256_file(file.path), "size": size, "compression": file.compression}


def _reader(file: DataFile, place: str, wanted: Sequence[str]) -> Reader:
    match file.format:
        case "jsonl":
            from amix.loaders.corpus.formats.jsonlines import JsonLines

            return JsonLines(file, place, wanted)
        case "csv":
            from amix.loaders.corpus.formats.csvfile import Csv

            return Csv(file, place)
        case "parquet":
            from amix.loaders.corpus.formats.parquet import Parquet

            return Parquet(file, place)


def _require_columns(file: DataFile, reader: Reader, options: CorpusOptions) -> None:
    columns = reader.columns()
    if columns is not None:
        require_columns(str(file.path), columns, options)
        reader.require_text(options.text_column)
        if options.pair_column is not None:
            reader.require_text(options.pair_column)
