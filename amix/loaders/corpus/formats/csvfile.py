"""CSV with a header, quotes as in RFC 4180 and line breaks inside fields."""

import csv
import io
from collections.abc import Generator, Iterator, Sequence

from amix.engine.base.errors import CorpusError
from amix.loaders.corpus.find import DataFile
from amix.loaders.corpus.source import LabelType, Record
from amix.loaders.corpus.formats.unpacked import open_bytes, reading

_FIELD = 128 * 1024 * 1024  # characters; Python's own limit is 131,072, less than a long review thread


class Csv:
    """One CSV file; all its values are strings."""

    row_count: int | None = None

    def __init__(self, file: DataFile, place: str) -> None:
        self._file = file
        self._place = place
        csv.field_size_limit(max(_FIELD, csv.field_size_limit()))

    def columns(self) -> Sequence[str]:
        """Return the header. Raises CorpusError where it is missing, not UTF-8, or names a column twice."""
        _, header, reason = next(self._parsed(), (0, None, "there is none"))
        if header is None:
            raise CorpusError(f"{self._file.path}: the header cannot be read ({reason}). Give the file one.")
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise CorpusError(f"{self._file.path}: the header names {twice[0]!r} twice. Rename one of them.")
        return header

    def require_text(self, column: str) -> None:
        """Accept every column: all fields are strings."""

    def label_type(self, column: str) -> LabelType:
        """Return an empty type, since the file does not say: every field is a string."""
        return LabelType()

    def records(self, columns: Sequence[str], start: int, base: int) -> Generator[Record, None, int]:
        """Yield the records from row `start` on."""
        parsed = self._parsed()
        _, header, _ = next(parsed)
        assert header is not None  # columns() has seen it
        places = [header.index(column) for column in columns]
        count = 0
        for line, fields, reason in parsed:
            if count >= start:
                if fields is None:
                    yield base + count, None, reason
                elif len(fields) != len(header):
                    where = f"{self._place}line {line}"
                    yield base + count, None, f"{where}: {len(fields)} fields, the header has {len(header)}"
                else:
                    yield base + count, [fields[place] for place in places], None
            count += 1
        return count

    def _parsed(self) -> Iterator[tuple[int, list[str] | None, str | None]]:
        """Yield first line, fields, and the reason where there are none, for each record that is not a blank line."""
        with reading(self._file.path), open_bytes(self._file) as stream:
            # Bytes that are not UTF-8 become surrogates, so that they spoil only their own record.
            text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
            reader = csv.reader(text, strict=True)  # else a stray quote silently joins fields
            while True:
                line = reader.line_num + 1
                try:
                    fields = next(reader)
                except StopIteration:
                    return
                except csv.Error as problem:
                    if "unexpected end" in str(problem) or "field limit" in str(problem):
                        # Rejecting this one row would lose every row that the open quote has swallowed.
                        raise CorpusError(
                            f"{self._file.path}: the quote that opens in line {line} or after is not closed. "
                            'Close it, and write a quote inside a field twice ("").'
                        ) from None
                    yield (
                        line,
                        None,
                        f"{self._place}line {line}: a stray quote (write it twice inside a field)",
                    )
                    continue
                if not fields:
                    continue
                try:
                    "".join(fields).encode()
                except UnicodeEncodeError:
                    yield line, None, f"{self._place}line {line}: not UTF-8"
                else:
                    yield line, fields, None
