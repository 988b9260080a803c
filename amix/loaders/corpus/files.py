"""A corpus in files: one reader for each, in order. The bytes of the files are its identity."""

import hashlib
import itertools
import logging
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Protocol

from amix.engine.base.errors import CorpusError
from amix.loaders.corpus.copies import copies
from amix.loaders.corpus.datafile import DataFile
from amix.loaders.corpus.formats.encodings import codec_name, proposal
from amix.loaders.corpus.formats.signs import require_as_named
from amix.loaders.corpus.formats.unpacked import reading
from amix.loaders.corpus.rows import CorpusOptions, columns_of, require_columns
from amix.loaders.corpus.source import LabelType, Record, SourceFile

_LOG = logging.getLogger(__name__)
_PIECE = 1 << 20  # bytes that are hashed at a time
_TEXT = frozenset({"csv", "jsonl"})


class Reader(Protocol):
    """One file."""

    @property
    def row_count(self) -> int | None:
        """Number of rows, or None where it is not known before the rows are read."""
        ...

    @property
    def dialect(self) -> Mapping[str, str]:
        """How the file is written, as its identity says it; empty for what is usual."""
        ...

    @property
    def remarks(self) -> Sequence[str]:
        """The same, for the user."""
        ...

    def columns(self) -> Sequence[str] | None:
        """Return the names of the columns, or None for a file that has no rows to take them from."""
        ...

    def advice(self) -> str:
        """Return what else may be wrong where a column is missing, with a space before it."""
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

    def entry(self, start: int) -> int:
        """Return the row from which the file has to be read to get at row `start`."""
        ...


class FileSource:
    """Files of one format, in order."""

    def __init__(self, what: str, files: Sequence[DataFile], options: CorpusOptions) -> None:
        """Hash the files and check their columns. Raises CorpusError; UsageError for an unknown encoding."""
        self.what = what
        self._files = files
        self._is_text = files[0].format in _TEXT
        self.strings_only = files[0].format == "csv"
        if options.encoding is not None:
            codec_name(options.encoding)
        hashed = [_hashed(file) for file in files]
        # Reasons of rejects are written into the shards, so they name the number of a file, not its path.
        places = [""] if len(files) == 1 else [f"file {number}, " for number in range(1, len(files) + 1)]
        self._readers = [
            reader_of(file, place, columns_of(options), options.encoding)
            for file, place in zip(files, places, strict=True)
        ]
        for file, reader in zip(files, self._readers, strict=True):
            _require_columns(file, reader, options)
        self._counts = [reader.row_count for reader in self._readers]
        self._sizes = [size for size, _ in hashed]
        self.identity: dict[str, object] = {
            "kind": "files",
            "format": files[0].format,
            "files": [
                {"sha256": sha256, "size": size, "compression": file.compression, **reader.dialect}
                for (size, sha256), file, reader in zip(hashed, files, self._readers, strict=True)
            ],
        }
        for sentence in copies(files, self._first_rows(options)):
            _LOG.warning(sentence)
        if options.encoding is not None and not self._is_text:
            _LOG.warning(f"--encoding is not used: {files[0].format} files say how their text is encoded.")

    @property
    def row_count(self) -> int | None:
        """Number of rows; known once all of them were read, or from the start if the files say it."""
        return None if None in self._counts else sum(filter(None, self._counts))

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
        for number, reader in enumerate(self._readers):
            count = self._counts[number]
            if count is None or base + count > start:
                count = yield from reader.records(columns, max(0, start - base), base)
                self._counts[number] = count
            base += count

    def entry(self, start: int) -> int:
        """Return the row from which the files have to be read to get at row `start`."""
        base = 0
        for reader, count in zip(self._readers, self._counts, strict=True):
            if count is None or base + count > start:
                return base + reader.entry(start - base)
            base += count
        return base

    def require_unchanged(self) -> None:
        """Raise CorpusError where a file is missing, or has another size than when it was hashed."""
        for file, size in zip(self._files, self._sizes, strict=True):
            with reading(file.path):
                found = file.path.stat().st_size
            if found != size:
                raise CorpusError(
                    f"{file.path}: has {found:,} bytes, and had {size:,} when the run started. Every machine must see "
                    "the same file, and it must not change while it is read."
                )

    def count(self, limit: int | None) -> None:
        """Read all rows, or up to the limit, unless they are counted already."""
        if self.row_count is None:
            for _ in itertools.islice(self.records([]), limit):
                pass

    def files(self, limit: int | None) -> Sequence[SourceFile]:
        """Return the files with the rows that are taken from each."""
        found, base = [], 0
        for file, reader, count in zip(self._files, self._readers, self._counts, strict=True):
            rows = count
            if limit is not None:
                rows = max(0, limit - base) if count is None else min(count, max(0, limit - base))
            found.append(SourceFile(file.name, rows, tuple(reader.remarks)))
            base += rows or 0
        return found

    def remedy(self, reasons: Iterable[str]) -> str | None:
        """Propose an encoding for text that is not UTF-8."""
        is_utf8 = not any("not UTF-8" in reason for reason in reasons)
        return None if is_utf8 or not self._is_text else proposal(self._files)

    def _first_rows(self, options: CorpusOptions) -> Generator[list[Sequence[object]], None, None]:
        for reader in self._readers:
            first = itertools.islice(reader.records(columns_of(options), 0, 0), 64)
            yield [values for _, values, _ in first if values is not None]


def _hashed(file: DataFile) -> tuple[int, str]:
    """Return the size and the sha256 of a file."""
    require_as_named(file)
    with reading(file.path):
        sha256 = hashlib.sha256()
        with file.path.open("rb") as stream:
            while piece := stream.read(_PIECE):
                sha256.update(piece)
        return file.path.stat().st_size, sha256.hexdigest()


def reader_of(file: DataFile, place: str, wanted: Sequence[str], encoding: str | None) -> Reader:
    """Open a file.  place: how reasons of rejects name it.  wanted: columns that it should have, to look for them."""
    match file.format:
        case "jsonl":
            from amix.loaders.corpus.formats.jsonlines import JsonLines

            return JsonLines(file, place, wanted, encoding)
        case "csv":
            from amix.loaders.corpus.formats.csvfile import Csv

            return Csv(file, place, wanted, encoding)
        case "parquet":
            from amix.loaders.corpus.formats.parquet import Parquet

            return Parquet(file, place)
        case "arrow":
            from amix.loaders.corpus.formats.arrowfile import ArrowFile

            return ArrowFile(file, place)


def _require_columns(file: DataFile, reader: Reader, options: CorpusOptions) -> None:
    columns = reader.columns()
    if columns is not None:
        require_columns(str(file.path), columns, options, reader.advice())
        reader.require_text(options.text_column)
        if options.pair_column is not None:
            reader.require_text(options.pair_column)
