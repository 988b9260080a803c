"""Checked reading of JSON documents that anybody may have written: a field has the expected type, or it is refused.

A file from elsewhere may carry the right hash and still be nonsense.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from amix.engine.base.errors import ShardError

_MOST = (1 << 60) - 1
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MISSING = object()

T = TypeVar("T")


class Fields:
    """One JSON object.

    where: the document, as messages name it.  prefix: the path from the document to this object, ending with a dot.
    Every method raises ShardError naming document and field when the field is missing or is something else.
    """

    def __init__(self, values: Mapping[str, object], where: str, prefix: str = "") -> None:
        self._values = values
        self._where = where
        self._prefix = prefix

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def names(self) -> set[str]:
        """Return the names of all fields."""
        return set(self._values)

    def get(self, name: str) -> object:
        """Return a field unchecked, None where there is none."""
        return self._values.get(name)

    def is_null(self, name: str) -> bool:
        """Tell whether a field is there and null."""
        return name in self._values and self._values[name] is None

    def refused(self, name: str) -> ShardError:
        """Return the error for a field that cannot be right, with what it holds."""
        value = self._values.get(name, _MISSING)
        seen = "is missing" if value is _MISSING else f"is {str(value)[:60]!r}"
        return ShardError(
            f"{self._where}: its {self._prefix}{name} {seen}, which 'amix precompute' never writes. "
            "Do not use this folder."
        )

    def read(self, name: str, parse: Callable[[object], T | None]) -> T:
        """Return what `parse` makes of a field; None refuses it."""
        value = self._values.get(name, _MISSING)
        parsed = None if value is _MISSING else parse(value)
        if parsed is None:
            raise self.refused(name)
        return parsed

    def count(self, name: str, most: int = _MOST) -> int:
        """Return a whole number from 0 to `most`."""
        number = self.read(name, count)
        if number > most:
            raise self.refused(name)
        return number

    def flag(self, name: str) -> bool:
        """Return true or false."""
        return self.read(name, lambda value: value if isinstance(value, bool) else None)

    def text(self, name: str) -> str:
        """Return a string."""
        return self.read(name, text)

    def sha256(self, name: str) -> str:
        """Return a sha256 in hex."""
        return self.matching(name, _SHA256)

    def matching(self, name: str, pattern: re.Pattern[str]) -> str:
        """Return a string that matches `pattern` as a whole."""
        value = self.text(name)
        if not pattern.fullmatch(value):
            raise self.refused(name)
        return value

    def choice(self, name: str, choices: Sequence[T]) -> T:
        """Return the one of `choices` that the field is equal to."""
        value = self.text(name)
        for each in choices:
            if each == value:
                return each
        raise self.refused(name)

    def row_range(self, name: str) -> tuple[int, int]:
        """Return [first, end) of rows."""
        first, end = self.read(name, pair)
        if first > end:
            raise self.refused(name)
        return first, end

    def items(self, name: str, parse: Callable[[object], T | None]) -> tuple[T, ...]:
        """Return what `parse` makes of each item of a list; None refuses the list."""
        found = []
        for item in self.read(name, lambda value: value if isinstance(value, list) else None):
            parsed = parse(item)
            if parsed is None:
                raise self.refused(name)
            found.append(parsed)
        return tuple(found)

    def mapping(self, name: str) -> dict[str, Any]:  # Any: JSON, for the caller to judge
        """Return an object as it is."""
        return self.read(name, _mapping)

    def inner(self, name: str) -> "Fields":
        """Return an object. Messages name its fields by their path in the document."""
        return Fields(self.mapping(name), self._where, f"{self._prefix}{name}.")

    def each(self, name: str, title: str) -> Iterator["Fields"]:
        """Yield the objects of a list; messages name each by `title` and its number."""
        for number, values in enumerate(self.items(name, _mapping)):
            yield Fields(values, f"{self._where}: {title} {number}")


def count(value: object) -> int | None:
    """Return a whole number that is not negative, or None."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST:
        return value
    return None


def text(value: object) -> str | None:
    """Return a string, or None."""
    return value if isinstance(value, str) else None


def pair(value: object) -> tuple[int, int] | None:
    """Return two counts, or None."""
    if not (isinstance(value, list) and len(value) == 2):
        return None
    first, second = map(count, value)
    return None if first is None or second is None else (first, second)


def _mapping(value: object) -> dict[str, Any] | None:  # Any: as `mapping`
    return value if isinstance(value, dict) else None
