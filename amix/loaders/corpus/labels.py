"""From the values of a label column to class ids: one policy for every kind of corpus.

Class names come from the user, and a ClassLabel in the schema is then matched to them by name. Without them they come
from the ClassLabel; without that, integers are taken as given, and strings are sorted after one pass over the column.
"""

import math
import re
from collections.abc import Sequence

from amix.engine.base.errors import CorpusError, UsageError
from amix.loaders.corpus.source import Kind, LabelType

_INTEGER = re.compile(r"[+-]?\d{1,18}(\.0*)?")  # pandas writes integers as 1.0 where a value is missing
_NUMBER_NAME = re.compile("0|[1-9][0-9]*")
_BOOLEANS = {"false": False, "true": True}


class UnusableError(Exception):
    """A value that cannot be a label; the message says why, and is written into the shards, so it stays as it is."""


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


def listed(names: Sequence[str], most: int = 20) -> str:
    """Return the names with commas, cut off after `most`."""
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def require_class_names(names: Sequence[str]) -> None:
    """Raise UsageError unless the class names that the user gave are non-empty and different."""
    for number, name in enumerate(names):
        if not name.strip():
            raise UsageError(
                f"--labels: name {number + 1} is empty. Write them as --labels negative,positive."
            )
        if name in names[:number]:
            raise UsageError(f"--labels: {name!r} is listed twice. List every class once.")
    if not names:
        raise UsageError("--labels: no names. Write them as --labels negative,positive.")


class Labels:
    """How the labels of one corpus are read: `read` turns a value into a class id, or into a vector.

    names: one per class.  multi_label: values are vectors over the classes, not ids.
    """

    def __init__(
        self, names: tuple[str, ...], kind: Kind, class_label: tuple[str, ...] | None, parse: bool
    ) -> None:
        self.names = names
        self.multi_label = kind == "list"
        self._kind = kind
        self._class_label = class_label
        self._parse = parse  # values are strings that hold numbers or booleans
        self._ids = {name: number for number, name in enumerate(names)}
        # Names that are integers are matched as names: label 1 under the names 1, 2, 5 is the first class.
        self._numbered = class_label is None and all(_NUMBER_NAME.fullmatch(name) for name in names)

    def read(self, value: object) -> int | tuple[float, ...]:
        """Return the class id of `value`, or its vector when `multi_label`. Raises UnusableError."""
        if self._parse and isinstance(value, str) and value.strip():
            value = parsed(value)
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
            raise UnusableError(f"unknown label {name[:80]!r}; known are: {listed(self.names)}")
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
            raise UnusableError(f"label {number} is beyond the {len(names)} classes: {listed(names)}")
        return number if self._class_label is None else self._named(names[number])

    def _vector(self, values: list[object]) -> tuple[float, ...]:
        if len(values) != len(self.names):
            raise UnusableError(f"label has {len(values)} numbers; there are {len(self.names)} classes")
        weights = []
        for value in values:
            if not isinstance(value, bool | int | float) or not 0 <= value <= 1:
                raise UnusableError(f"label holds {value!r}, which is no number between 0 and 1")
            weights.append(float(value))
        return tuple(weights)

    def _members(self, values: list[object]) -> tuple[float, ...]:
        ids = set()
        for value in values:
            if kind_of(value) != "integer" or not isinstance(value, int | float):
                raise UnusableError(f"label holds {value!r}, which is no class number")
            ids.add(self._indexed(int(value)))
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
        return Labels(given or schema.names, schema.kind, schema.names, parse=False)
    if given is not None:
        return Labels(given, schema.kind, None, parse=False)
    return None
