"""From the values of a label column to class ids: one policy for every kind of corpus.

Names come from the user, and a ClassLabel in the schema is then matched to them by name; else from the
ClassLabel; else integers are taken as given; else they are the sorted strings of one pass over the column.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

from amix.engine.base.errors import CorpusError, UsageError
from amix.loaders.corpus.source import Kind, LabelType

MOST_CLASSES = 10_000
_INTEGER = re.compile(r"[+-]?\d{1,18}(\.0*)?")  # pandas writes integers as 1.0 where a value is missing
_NUMBER_NAME = re.compile("0|[1-9][0-9]*")
_BOOLEANS = {"false": False, "true": True}


class UnusableError(Exception):
    """A value that cannot be a label; the message is the reason of the reject."""


def kind_of(value: object) -> Kind:
    """Return what kind of label `value` is. Raises UnusableError for what is missing or cannot be one."""
    match value:
        case None:
            raise UnusableError("label is missing")
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            if math.isnan(value):
                raise UnusableError("label is missing (NaN)")
            if not value.is_integer():
                raise UnusableError(f"label {value!r} is neither a whole number nor a name")
            return "integer"
        case str():
            if not value.strip():
                raise UnusableError("label is empty")
            if any("\ud800" <= character <= "\udfff" for character in value):
                raise UnusableError(f"label {value[:80]!r} holds half a surrogate pair")
            return "string"
        case list():
            if not value:
                raise UnusableError("label is an empty list")
            return "list"
        case _:
            name = "an object" if isinstance(value, dict) else f"a {type(value).__name__}"
            raise UnusableError(f"label is {name}; it must be a number, a name or a list of numbers")


def _listed(names: Sequence[str], most: int = 20) -> str:
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def check_names(names: Sequence[str]) -> None:
    """Raise UsageError unless the names that the user gave are non-empty and different."""
    for number, name in enumerate(names):
        if not name.strip():
            raise UsageError(
                f"--labels: name {number + 1} is empty. Write them as --labels negative,positive."
            )
        if name in names[:number]:
            raise UsageError(f"--labels: {name!r} is named twice. Every class has one name.")
    if not names:
        raise UsageError("--labels: no names. Write them as --labels negative,positive.")


class Labels:
    """The finished policy for one corpus: `read` turns a value into a class id, or into a vector.

    names: one per class.  multi_label: values are vectors over the classes, not ids.
    """

    def __init__(
        self, names: tuple[str, ...], kind: Kind, class_label: tuple[str, ...] | None, parse: bool
    ) -> None:
        self.names = names
        self.multi_label = kind == "list"
        self._kind = kind
        self._class_label = class_label
        self._parse = parse  # values are strings that write numbers or booleans
        self._ids = {name: number for number, name in enumerate(names)}
        # Names that are integers are matched as names: label 1 under the names 1, 2, 5 is the first class.
        self._numbered = class_label is None and all(_NUMBER_NAME.fullmatch(name) for name in names)

    def read(self, value: object) -> int | tuple[float, ...]:
        """Return the class id of `value`, or its vector when `multi_label`. Raises UnusableError."""
        if self._parse and isinstance(value, str) and value.strip():
            value = _parsed(value)
        kind = kind_of(value)
        if kind != self._kind:
            raise UnusableError(f"label {value!r} is of the kind {kind}, the others are {self._kind}s")
        match value:
            case list():
                return self._vector(value) if self._class_label is None else self._members(value)
            case str():
                return self._named(value)
            case bool():
                name = "true" if value else "false"
                return self._ids[name] if name in self._ids else self._indexed(int(value))
            case int() | float():
                return self._indexed(int(value))
        raise AssertionError(kind)

    def _named(self, name: str) -> int:
        if name not in self._ids:
            raise UnusableError(f"unknown label {name[:80]!r}; known are: {_listed(self.names)}")
        return self._ids[name]

    def _indexed(self, number: int) -> int:
        if number == -1:
            raise UnusableError("no label (-1)")
        if number < 0:
            raise UnusableError(f"label {number} is negative")
        if self._numbered:
            return self._named(str(number))
        names = self.names if self._class_label is None else self._class_label
        if number >= len(names):
            raise UnusableError(f"label {number} is beyond the {len(names)} classes: {_listed(names)}")
        return number if self._class_label is None else self._named(names[number])

    def _vector(self, values: list[Any]) -> tuple[float, ...]:
        if len(values) != len(self.names):
            raise UnusableError(f"label has {len(values)} numbers; there are {len(self.names)} classes")
        for value in values:
            if not isinstance(value, bool | int | float) or not 0 <= value <= 1:
                raise UnusableError(f"label holds {value!r}, which is no number between 0 and 1")
        return tuple(map(float, values))

    def _members(self, values: list[Any]) -> tuple[float, ...]:
        ids = set()
        for value in values:
            if kind_of(value) != "integer":
                raise UnusableError(f"label holds {value!r}, which is no class number")
            ids.add(self._indexed(int(value)))
        return tuple(float(number in ids) for number in range(len(self.names)))


def _parsed(value: str) -> int | bool | str:
    stripped = value.strip()
    if _INTEGER.fullmatch(stripped):
        return int(stripped.partition(".")[0])
    return _BOOLEANS.get(stripped.lower(), value)


class Survey:
    """One pass over a label column: what kind its values are, and how many classes they make."""

    def __init__(self, what: str, column: str) -> None:
        self._where = f"{what}: the label column {column!r}"
        self._first: dict[Kind, int] = {}  # the first row of each kind
        self._strings: dict[str, None] = {}
        self._top = -1
        self._width = 0

    def add(self, row: int, value: object) -> None:
        """Take in the label of row number `row`. What cannot be a label is left to `Labels.read`."""
        try:
            kind = kind_of(value)
        except UnusableError:
            return
        self._first.setdefault(kind, row)
        match value:
            case str():
                self._strings.setdefault(value)
                classes = len(self._strings)
            case list():
                self._width = self._width or len(value)
                classes = self._width
            case _:  # a number or a boolean: kind_of let it pass
                self._top = max(self._top, int(value))  # type: ignore[call-overload]
                classes = self._top + 1
        self._check_count(classes)

    def finish(self, given: tuple[str, ...] | None, strings_only: bool) -> Labels:
        """Return the policy for this column. Raises CorpusError for mixed kinds, or no label at all."""
        if len(self._first) > 1:
            kinds = ", ".join(f"{kind} (first in row {row})" for kind, row in sorted(self._first.items()))
            raise CorpusError(f"{self._where} mixes kinds: {kinds}. Make its values all of one kind.")
        kind = next(iter(self._first), None)
        parse = False
        if kind == "string" and strings_only:
            values = [_parsed(value) for value in self._strings]
            if all(isinstance(value, bool) for value in values):
                kind, parse = "boolean", True
            elif all(isinstance(value, int) and not isinstance(value, bool) for value in values):
                kind, parse = "integer", True
                self._top = max(map(int, values))
                self._check_count(self._top + 1)
        if kind is None or (kind == "integer" and self._top < 0):
            raise CorpusError(
                f"{self._where} holds no label that can be used. "
                "Name the right one with --label-column, or use --no-labels."
            )
        return Labels(given or self._names(kind), kind, None, parse)

    def _check_count(self, classes: int) -> None:
        if classes > MOST_CLASSES:
            raise CorpusError(
                f"{self._where} has more than {MOST_CLASSES:,} classes: it looks like an id column or "
                "running text. Name the right one with --label-column, or use --no-labels."
            )

    def _names(self, kind: Kind) -> tuple[str, ...]:
        match kind:
            case "boolean":
                return ("false", "true")
            case "string":
                return tuple(sorted(self._strings))
            case "list":
                return tuple(map(str, range(self._width)))
            case "integer":
                return tuple(map(str, range(self._top + 1)))


def from_schema(what: str, column: str, schema: LabelType, given: tuple[str, ...] | None) -> Labels | None:
    """Return the policy where schema and given names decide it without a look at the column, else None."""
    if schema.kind is None:
        return None
    if schema.names is not None:
        if given is not None and not set(given) & set(schema.names):
            raise CorpusError(
                f"{what}: none of the given labels ({_listed(given)}) is a class of column {column!r}, whose "
                f"classes are {_listed(schema.names)}. Give names of these."
            )
        return Labels(given or schema.names, schema.kind, schema.names, parse=False)
    if given is not None:
        return Labels(given, schema.kind, None, parse=False)
    return None
