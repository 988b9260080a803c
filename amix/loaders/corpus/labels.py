"""From the values of a label column to class ids: one policy for every kind of corpus.

Class names come from the user, and a ClassLabel in the schema is then matched to them by name. Without them they come
from the ClassLabel; without that, one pass over the column finds the classes that occur (survey.py).
"""

import math
import re

from amix.engine.base.errors import CorpusError
from amix.loaders.corpus.names import listed, shown
from amix.loaders.corpus.source import Kind, LabelType

_INTEGER = re.compile(r"[+-]?\d{1,18}(\.0*)?")  # pandas writes integers as 1.0 where a value is missing
_NUMBER_NAME = re.compile("0|-?[1-9][0-9]*")
_BOOLEANS = {"false": False, "true": True}


class UnusableError(Exception):
    """A value that cannot be a label; the message says why, and is written into the shards, so it stays as it is."""


class FractionError(UnusableError):
    """A number between two whole ones."""


def kind_of(value: object) -> Kind:
    """Return what kind of label `value` is. Raises UnusableError when it is missing or cannot be a label."""
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
                error = FractionError if math.isfinite(value) else UnusableError
                raise error(f"label {value!r} is neither a whole number nor a name")
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


def numbered(names: tuple[str, ...]) -> bool:
    """Tell whether integers mean the classes with these names, and not the first, the second and so on."""
    return any(map(_NUMBER_NAME.fullmatch, names))


class Labels:
    """How the labels of one corpus are read: `read` turns a value into a class id, or into a vector.

    names: one per class.  multi_label: values become vectors over the classes, not ids.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        kind: Kind,
        *,
        class_label: tuple[str, ...] | None = None,
        parse: bool = False,
        members: bool = False,
    ) -> None:
        """Take the names and the kind of the values.

        class_label: the names of the integers in the column.  parse: values are strings that hold numbers or booleans.
        members: lists hold the classes that a text has, and not a weight for each class.
        """
        self.names = names
        self.multi_label = kind == "list"
        self._kind = kind
        self._class_label = class_label
        self._parse = parse
        self._members = members
        self._ids = {name: number for number, name in enumerate(names)}
        self._numbered = class_label is None and numbered(names)

    def read(self, value: object) -> int | tuple[float, ...]:
        """Return the class id of `value`, or its vector when `multi_label`. Raises UnusableError."""
        if self._members and value == []:
            return (0.0,) * len(self.names)
        if self._parse and isinstance(value, str) and value.strip():
            if value.strip() in self._ids:
                return self._ids[value.strip()]
            value = parsed(value)
        kind = kind_of(value)
        if kind != self._kind:
            raise UnusableError(
                f"label {shown(repr(value))} is of the kind {kind}, the others are {self._kind}s"
            )
        match value:
            case list():
                return self._membership(value) if self._members else self._vector(value)
            case str():
                return self._named(value)
            case bool():
                name = "true" if value else "false"
                return self._ids[name] if name in self._ids else self._indexed(int(value))
            case int() | float():
                return self._indexed(int(value))
        raise AssertionError(kind)

    def _named(self, name: str) -> int:
        known = name if name in self._ids else name.strip()
        if known not in self._ids:
            raise UnusableError(f"unknown label {name[:80]!r}; known are: {listed(self.names)}")
        return self._ids[known]

    def _indexed(self, number: int) -> int:
        if self._numbered and str(number) in self._ids:
            return self._ids[str(number)]
        if number == -1:
            raise UnusableError("no label (-1)")
        if self._numbered:
            return self._named(str(number))
        if number < 0:
            raise UnusableError(f"label {number} is negative")
        names = self.names if self._class_label is None else self._class_label
        if number >= len(names):
            raise UnusableError(f"label {number} is beyond the {len(names)} classes: {listed(names)}")
        return number if self._class_label is None else self._named(names[number])

    def _vector(self, values: list[object]) -> tuple[float, ...]:
        if len(values) != len(self.names):
            raise UnusableError(f"label has {len(values)} numbers; there are {len(self.names)} classes")
        weights = []
        for value in values:
            if not isinstance(value, bool | int | float) or not 0 <= value <= 1:
                raise UnusableError(f"label holds {shown(repr(value))}, which is no number between 0 and 1")
            weights.append(float(value))
        return tuple(weights)

    def _membership(self, values: list[object]) -> tuple[float, ...]:
        ids = set()
        for value in values:
            if isinstance(value, str):
                ids.add(self._named(value))
            elif kind_of(value) == "integer" and isinstance(value, int | float):
                ids.add(self._indexed(int(value)))
            else:
                raise UnusableError(f"label holds {shown(repr(value))}, which is no class number")
        return tuple(float(number in ids) for number in range(len(self.names)))


def parsed(value: str) -> int | bool | str:
    """Return the number or boolean that a string holds, else the string."""
    stripped = value.strip()
    if _INTEGER.fullmatch(stripped):
        return int(stripped.partition(".")[0])
    return _BOOLEANS.get(stripped.lower(), value)


def from_schema(what: str, column: str, schema: LabelType, given: tuple[str, ...] | None) -> Labels | None:
    """Return how to read the labels if the schema and the given names say it; None if the column must be read."""
    if schema.kind is None:
        return None
    if schema.names is not None:
        if given is not None and not set(given) & set(schema.names):
            raise CorpusError(
                f"{what}: none of the given labels ({listed(given)}) is a class of column {column!r}, whose "
                f"classes are {listed(schema.names)}. Give names of these."
            )
        members = schema.kind == "list"
        return Labels(given or schema.names, schema.kind, class_label=schema.names, members=members)
    if given is None or schema.kind == "list" or (schema.kind == "integer" and not numbered(given)):
        return None
    return Labels(given, schema.kind)
