"""JSON Lines, read line by line: a line that cannot be read is a rejected row, and reading goes on."""

import codecs
import json
from collections.abc import Generator, Iterator, Sequence

from amix.engine.base.errors import CorpusError
from amix.loaders.corpus.find import DataFile
from amix.loaders.corpus.source import LabelType, Record
from amix.loaders.corpus.formats.unpacked import open_bytes, reading

_SAMPLE = 100  # valid rows whose keys are the columns
_SAMPLE_LINES = 10_000  # at most this many lines are searched for them
_TYPES = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list"}


class JsonLines:
    """One file with one JSON object a line. Blank lines are not rows."""

    row_count: int | None = None

    def __init__(self, file: DataFile, place: str, wanted: Sequence[str] = ()) -> None:
        self._file = file
        self._place = place
        self._wanted = frozenset(wanted)

    def columns(self) -> Sequence[str] | None:
        """Return the keys of the first valid rows, and those wanted that any row has.

        Raises CorpusError where there are none.
        """
        names: dict[str, None] = {}
        missing = set(self._wanted)
        valid = 0
        reason: str | None = None
        for number, (line, raw) in enumerate(self._lines()):
            if (valid >= _SAMPLE and not missing) or (number >= _SAMPLE_LINES and not names):
                break
            value, problem = self._object(line, raw)
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
        raise CorpusError(
            f"{self._file.path}: no line holds a JSON object with keys ({reason or 'all are empty'}). "
            'JSON Lines has one object a line, such as {"text": "...", "label": 0}.'
        )

    def require_text(self, column: str) -> None:
        """Accept every column: each row has types of its own."""

    def label_type(self, column: str) -> LabelType:
        """Return an empty type, since the file does not say: each row has types of its own."""
        return LabelType()

    def records(self, columns: Sequence[str], start: int, base: int) -> Generator[Record, None, int]:
        """Yield the records from row `start` on; a key that a row lacks gives None."""
        count = 0
        for line, raw in self._lines():
            if count >= start:
                value, reason = self._object(line, raw)
                if value is None:
                    yield base + count, None, reason
                else:
                    yield base + count, [value.get(column) for column in columns], None
            count += 1
        return count

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        with reading(self._file.path), open_bytes(self._file) as stream:
            for number, raw in enumerate(stream, 1):
                line = (raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw).rstrip()
                if line:
                    yield number, line

    def _object(self, line: int, raw: bytes) -> tuple[dict[str, object] | None, str | None]:
        where = f"{self._place}line {line}"
        try:
            value = json.loads(raw.decode())
        except UnicodeDecodeError as problem:
            return None, f"{where}: not UTF-8 (0x{raw[problem.start]:02x} at byte {problem.start + 1})"
        except json.JSONDecodeError as problem:
            # Reasons are written into the shards, so they cannot be the parser's own words, which differ between
            # versions of Python.
            return None, f"{where}: not valid JSON from column {problem.colno} on"
        except (ValueError, RecursionError):
            return None, f"{where}: JSON with a number too long or nested too deep"
        if not isinstance(value, dict):
            return None, f"{where}: {_TYPES.get(type(value), 'null')} in place of a JSON object"
        return value, None
