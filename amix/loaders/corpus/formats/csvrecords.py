"""The records of a CSV file, as RFC 4180 parts them. A record that is none is a reject, and spoils no other one."""

import csv
import itertools
import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_FIELD = 128 * 1024 * 1024  # characters; Python's own limit is 131,072, less than a long review thread
_ESCAPED = '\\"'
_AHEAD = 1000  # lines in which the end of a broken record is looked for


class UnclosedError(Exception):
    """A quote that opens in `line` or after is never closed, so that the rest of the file is one field."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class CsvRecord(NamedTuple):
    """One record that is not a blank line. lines: the first and the last of it, from 1.

    fields: None where they cannot be told; then `flaw` says why.
    """

    lines: tuple[int, int]
    fields: list[str] | None
    flaw: str | None = None


def csv_records(
    text: Iterable[str], delimiter: str, *, quotes: bool = True, width: int | None = None
) -> Iterator[CsvRecord]:
    """Yield the records of `text`, which gives lines with their ends.

    quotes: whether quotes have a meaning.  width: fields of a right record, by which the end of a broken one is found.
    Raises UnclosedError.
    """
    csv.field_size_limit(max(_FIELD, csv.field_size_limit()))
    lines = _Lines(text)
    if quotes:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)  # else a stray quote joins fields
    else:
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    while True:
        lines.begin()
        fields, flaw = None, None
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as problem:
            unclosed = "unexpected end" in str(problem) or "field limit" in str(problem)
            if _is_escaped(lines, delimiter, width):
                flaw = 'a quote after a backslash (inside a field, write it twice: "")'
            elif unclosed:  # rejecting this one row would lose every row that the open quote has swallowed
                raise UnclosedError(lines.first) from None
            else:
                flaw = "a stray quote (write it twice inside a field)"
                _take_the_rest(lines, delimiter, width)
        if fields != []:  # a blank line
            yield CsvRecord((lines.first, lines.last), fields, flaw)


class _Lines:
    """Lines, with those that the current record has taken, which it may give back."""

    def __init__(self, text: Iterable[str]) -> None:
        self._text = iter(text)
        self._returned: deque[str] = deque()
        self.taken: list[str] = []
        self.first = 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._returned.popleft() if self._returned else next(self._text)
        self.taken.append(line)
        return line

    @property
    def last(self) -> int:
        return self.first + len(self.taken) - 1

    def begin(self) -> None:
        """Begin the next record."""
        self.first += len(self.taken)
        self.taken = []

    def keep(self, count: int) -> None:
        """Let the record have `count` lines, as far as there are so many."""
        self._returned.extendleft(reversed(self.taken[count:]))
        del self.taken[count:]
        while len(self.taken) < count and next(self, None) is not None:
            pass


def _is_escaped(lines: _Lines, delimiter: str, width: int | None) -> bool:
    """Tell whether quotes after backslashes explain the broken record; then it has the lines that they give it."""
    taken = len(lines.taken)
    if width is None or not any(_ESCAPED in line for line in lines.taken):
        return False
    lines.keep(0)
    try:
        ahead = itertools.islice(lines, taken + _AHEAD)
        fields = next(csv.reader(ahead, delimiter=delimiter, escapechar="\\", strict=True))
    except (csv.Error, StopIteration):
        fields = []
    if len(fields) == width:
        return True
    lines.keep(taken)
    return False


def _take_the_rest(lines: _Lines, delimiter: str, width: int | None) -> None:
    """Give a broken record the lines up to its closing quote, lest the rest of its text be taken for a record.

    It is over where its quotes are even, or the last one stands before a delimiter or the end of its line. Where a
    whole record with quotes comes first, there is no such line: it ended where it broke.
    """
    taken = len(lines.taken)
    even = sum(map(_quotes, lines.taken)) % 2 == 0
    last = lines.taken[-1]
    while not even and not _closes(last, delimiter):
        following = next(lines, None) if len(lines.taken) < taken + _AHEAD else None
        if following is None or ('"' in following and _is_whole(following, delimiter, width)):
            lines.keep(taken)
            return
        last = following
        even = _quotes(last) % 2 == 1


def _is_whole(line: str, delimiter: str, width: int | None) -> bool:
    """Tell whether a line is a record by RFC 4180: each field is quoted, or has no quotes."""
    if width is None:
        return False
    apart = re.escape(delimiter)
    field = f'(?:"(?:[^"]|"")*"|[^"{apart}]*)'
    return re.fullmatch(f"{field}(?:{apart}{field}){{{width - 1}}}", line.strip("\r\n")) is not None


def _quotes(line: str) -> int:
    return line.count('"') - line.count(_ESCAPED)


def _closes(line: str, delimiter: str) -> bool:
    _, quote, rest = line.replace(_ESCAPED, "").rpartition('"')
    return bool(quote) and (not rest.strip("\r\n") or rest.startswith(delimiter))
