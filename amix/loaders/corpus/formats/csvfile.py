"""CSV with a header: fields between commas, semicolons, tabs or bars, quotes as in RFC 4180."""

import csv
import io
from collections.abc import Generator, Iterator, Sequence

from amix.engine.base.errors import CorpusError
from amix.loaders.corpus.datafile import DataFile
from amix.loaders.corpus.formats.csvrecords import CsvRecord, UnclosedError, csv_records
from amix.loaders.corpus.formats.encodings import UTF8, encoding_of, open_utf8, proposal, shown
from amix.loaders.corpus.formats.unpacked import reading
from amix.loaders.corpus.source import LabelType, Record

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


class Csv:
    """One CSV file; all its values are strings."""

    row_count: int | None = None

    def __init__(self, file: DataFile, place: str, wanted: Sequence[str], encoding: str | None) -> None:
        """Find out how the file is written. wanted: names of columns that its header should have.

        Raises CorpusError for a header that cannot be read.
        """
        self._file = file
        self._place = place
        self._wanted = frozenset(wanted)
        self._encoding = encoding_of(file, encoding)
        self._delimiter, self._header = self._with_header()
        self._quotes = self._delimiter != "\t" or not self._quotes_are_text()
        # What is not said by default, so that well-formed CSV has the identity that it always had.
        self.dialect: dict[str, str] = {}
        self.remarks: list[str] = []
        if self._encoding != UTF8:
            self.dialect["encoding"] = self._encoding
            self.remarks.append(shown(self._encoding))
        if self._delimiter != ",":
            self.dialect["delimiter"] = self._delimiter
            self.remarks.append(f"fields between {_DELIMITERS[self._delimiter]}")
        if not self._quotes:
            self.dialect["quotes"] = "none"
            self.remarks.append("quotes are text")

    def columns(self) -> Sequence[str]:
        """Return the header."""
        return self._header

    def advice(self) -> str:
        """Return what else may be wrong with a header that lacks a column."""
        if self._wanted & set(self._header):
            return ""
        if self._header[0].startswith("sep="):
            return " The first line is a note on the separator, as Excel writes it. Remove it."
        names = ["text", "label", *(f"c{number}" for number in range(3, len(self._header) + 1))]
        header = self._delimiter.join(names[: len(self._header)])
        return f" If that is a row, the file has no header: put one on top, such as {header!r}."

    def require_text(self, column: str) -> None:
        """Accept every column: all fields are strings."""

    def label_type(self, column: str) -> LabelType:
        """Return an empty type, since the file does not say: every field is a string."""
        return LabelType()

    def records(self, columns: Sequence[str], start: int, base: int) -> Generator[Record, None, int]:
        """Yield the records from row `start` on."""
        places = [self._header.index(column) for column in columns]
        parsed = self._parsed(self._delimiter, quotes=self._quotes, width=len(self._header))
        next(parsed)  # the header
        count = 0
        for record in parsed:
            if count >= start:
                flaw = self._flaw(record)
                if flaw is not None or record.fields is None:
                    first, last = record.lines
                    lines = (
                        f"lines {first} to {last}"
                        if record.fields is None and last > first
                        else f"line {first}"
                    )
                    yield base + count, None, f"{self._place}{lines}: {flaw}"
                else:
                    yield base + count, [record.fields[place] for place in places], None
            count += 1
        return count

    def entry(self, start: int) -> int:
        """Return 0: only from the beginning can be told which quotes are open."""
        return 0

    def _flaw(self, record: CsvRecord) -> str | None:
        """Return why a record is no row, or None if it is one."""
        fields, header = record.fields, self._header
        if fields is None:
            return record.flaw
        if not _is_unicode(fields):
            return f"not {shown(self._encoding)}"
        if len(fields) != len(header):
            return f"{len(fields)} fields, the header has {len(header)}"
        if fields[-1].strip() == header[-1].strip() and _stripped(fields) == _stripped(header):
            return "the header once more"  # of a second file, put after a first one
        return None

    def _with_header(self) -> tuple[str, list[str]]:
        """Return the delimiter under which the header has what is wanted, or else most fields; and the header."""
        tabs_first = self._file.plain_name.lower().endswith(".tsv")
        headers: dict[str, list[str]] = {}
        problems: list[CorpusError] = []
        for delimiter in sorted(_DELIMITERS, key="\t".__ne__) if tabs_first else _DELIMITERS:
            try:
                header = self._header_under(delimiter)
            except CorpusError as problem:
                problems.append(problem)
                continue
            if self._wanted <= set(header):
                return delimiter, header
            headers[delimiter] = header
        if not headers:
            raise problems[0]
        return max(headers.items(), key=lambda item: len(item[1]))

    def _header_under(self, delimiter: str) -> list[str]:
        record = next(self._parsed(delimiter), CsvRecord((0, 0), None, "there is none"))
        flaw, remedy = record.flaw, None
        if record.fields is not None and not _is_unicode(record.fields):
            flaw = f"line {record.lines[0]}: not {shown(self._encoding)}"
            remedy = proposal([self._file])
        if flaw is not None or record.fields is None:
            raise CorpusError(
                f"{self._file.path}: the header cannot be read ({flaw}). {remedy or 'Give the file one.'}"
            )
        return record.fields

    def _quotes_are_text(self) -> bool:
        """Tell whether quotes are characters like any other, as in files where tabs alone part the fields.

        They are if every line has as many fields as the header, and some quote makes no sense otherwise.
        """
        unpaired = False
        with reading(self._file.path), self._open() as text:
            for line in text:
                if line.strip("\r\n") and line.count("\t") + 1 != len(self._header):
                    return False
                if '"' in line and not unpaired:
                    try:
                        next(csv.reader([line], delimiter="\t", strict=True))
                    except csv.Error:
                        unpaired = True
        return unpaired

    def _open(self) -> io.TextIOWrapper:
        # Bytes that are not UTF-8 become surrogates, so that they spoil only their own record.
        stream = open_utf8(self._file, self._encoding)
        return io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")

    def _parsed(
        self, delimiter: str, *, quotes: bool = True, width: int | None = None
    ) -> Iterator[CsvRecord]:
        """Yield the header and all records after it. Raises CorpusError for a quote that is never closed."""
        with reading(self._file.path), self._open() as text:
            try:
                yield from csv_records(text, delimiter, quotes=quotes, width=width)
            except UnclosedError as problem:
                raise CorpusError(
                    f"{self._file.path}: the quote that opens in line {problem.line} or after is not closed. "
                    'Close it, and write a quote inside a field twice ("").'
                ) from None


def _is_unicode(fields: Sequence[str]) -> bool:
    try:
        "".join(fields).encode()
    except UnicodeEncodeError:
        return False
    return True


def _stripped(fields: Sequence[str]) -> list[str]:
    return [field.strip("\ufeff ") for field in fields]
