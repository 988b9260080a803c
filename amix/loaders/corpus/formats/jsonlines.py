"""JSON Lines, read line by line: a line that cannot be read is a rejected row, and reading goes on. JSON arrays too."""

import codecs
import io
import json
import re
from collections.abc import Generator, Iterator, Sequence

from amix.engine.base.errors import CorpusError
from amix.loaders.corpus.datafile import DataFile
from amix.loaders.corpus.formats.encodings import UTF8, encoding_of, open_utf8, shown
from amix.loaders.corpus.formats.jsonarray import ArrayError, array_items
from amix.loaders.corpus.formats.offsets import RowOffsets
from amix.loaders.corpus.formats.unpacked import reading
from amix.loaders.corpus.source import LabelType, Record

_SAMPLE = 100  # valid rows whose keys are the columns
_SAMPLE_LINES = 10_000  # at most this many lines are searched for them
_ARRAY = re.compile(rb"(\xef\xbb\xbf)?\s*\[\s*[\]{]")  # an array of objects, or of nothing
_HEAD = 4096  # bytes in which the beginning of an array is looked for
_TYPES = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list"}

_Object = tuple[dict[str, object] | None, str | None]  # or why there is none


class JsonLines:
    """One file with one JSON object a line, or with one array of objects. Blank lines are not rows."""

    def __init__(self, file: DataFile, place: str, wanted: Sequence[str], encoding: str | None) -> None:
        self._file = file
        self._offsets = RowOffsets()
        self._place = place
        self._wanted = frozenset(wanted)
        self._encoding = encoding_of(file, encoding)
        other = self._encoding != UTF8
        self.dialect: dict[str, str] = {"encoding": self._encoding} if other else {}
        self.remarks = [shown(self._encoding)] if other else []
        with reading(file.path), open_utf8(file, self._encoding) as stream:
            self._is_array = _ARRAY.match(stream.read(_HEAD)) is not None
        # Only what is read as it is stored can be entered anywhere.
        self._seekable = file.compression is None and not other and not self._is_array

    @property
    def row_count(self) -> int | None:
        """Number of rows, or None until the file was read to its end."""
        return self._offsets.row_count

    def columns(self) -> Sequence[str] | None:
        """Return the keys of the first valid rows, and those wanted that any row has.

        Raises CorpusError where there are none.
        """
        names: dict[str, None] = {}
        missing = set(self._wanted)
        valid = 0
        reason: str | None = None
        for number, (value, problem) in enumerate(self._objects()):
            if (valid >= _SAMPLE and not missing) or (number >= _SAMPLE_LINES and not names):
                break
            if value is None:
                reason = reason or problem
                continue
            names.update(dict.fromkeys(value if valid < _SAMPLE else missing & value.keys()))
            missing -= value.keys()
            valid += 1
        if names:
            return list(names)
        if reason is None and not valid:
            return None
        name = self._file.path.name
        raise CorpusError(
            f"{self._file.path}: no line holds a JSON object with keys ({reason or 'all are empty'}). "
            'JSON Lines has one object a line, such as {"text": "...", "label": 0}; a list of them is read too. '
            "To take the list KEY out of one large object: python -c "
            f'\'import json; json.dump(json.load(open("{name}"))["KEY"], open("rows.json", "w"))\''
        )

    def advice(self) -> str:
        """Return nothing: keys that are not there are simply not there."""
        return ""

    def require_text(self, column: str) -> None:
        """Accept every column: each row has types of its own."""

    def label_type(self, column: str) -> LabelType:
        """Return an empty type, since the file does not say: each row has types of its own."""
        return LabelType()

    def records(self, columns: Sequence[str], start: int, base: int) -> Generator[Record, None, int]:
        """Yield the records from row `start` on; a key that a row lacks gives None."""
        count = self.entry(start)
        for value, reason in self._objects(start):
            if count >= start:
                if value is None:
                    yield base + count, None, reason
                else:
                    yield base + count, [value.get(column) for column in columns], None
            count += 1
        self._offsets.row_count = count
        return count

    def entry(self, start: int) -> int:
        """Return the row from which the file is read to get at row `start`: near it where an earlier pass was there."""
        return self._offsets.before(start)[0] if self._seekable else 0

    def _objects(self, start: int = 0) -> Iterator[_Object]:
        """Yield what each row holds, from `entry(start)` on. Lines before row `start` are not parsed."""
        with reading(self._file.path), open_utf8(self._file, self._encoding) as stream:
            if self._is_array:
                text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape")
                try:
                    for number, (value, written) in enumerate(array_items(text), 1):
                        yield self._item(f"{self._place}item {number}", value, written)
                except ArrayError as problem:
                    raise CorpusError(
                        f"{self._file.path}: is no whole JSON array: {problem}. Repair it, or write one object a line."
                    ) from None
                return
            count, first, position = self._offsets.before(start) if self._seekable else (0, 1, 0)
            if position:
                stream.seek(position)
            for number, raw in enumerate(stream, first):
                line = (raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw).rstrip()
                if line:
                    if self._seekable:
                        self._offsets.note(count, number, position)
                    count += 1
                    yield self._line(f"{self._place}line {number}", line) if count > start else (None, None)
                position += len(raw)

    def _line(self, where: str, raw: bytes) -> _Object:
        try:
            value = json.loads(raw.decode())
        except UnicodeDecodeError as problem:
            if self._encoding != UTF8:
                return None, f"{where}: not {shown(self._encoding)}"
            return None, f"{where}: not UTF-8 (0x{raw[problem.start]:02x} at byte {problem.start + 1})"
        except json.JSONDecodeError as problem:
            # Reasons are written into the shards, so they cannot be the parser's own words, which differ between
            # versions of Python.
            return None, f"{where}: not valid JSON from column {problem.colno} on"
        except (ValueError, RecursionError):
            return None, f"{where}: JSON with a number too long or nested too deep"
        return _object(where, value)

    def _item(self, where: str, value: object, written: str) -> _Object:
        try:
            written.encode()
        except UnicodeEncodeError:
            return None, f"{where}: not {shown(self._encoding)}"
        return _object(where, value)


def _object(where: str, value: object) -> _Object:
    if not isinstance(value, dict):
        return None, f"{where}: {_TYPES.get(type(value), 'null')} in place of a JSON object"
    return value, None
