"""What an option may be: its kind, its range, and the words that say so, most of it from its type."""

import dataclasses
import functools
import math
import re
import types
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from amix.engine.base.errors import ConfigError

T = TypeVar("T")
Kind = type[bool] | type[int] | type[float] | type[str]


@dataclass(frozen=True, kw_only=True)
class Note:
    """What the type of an option does not say.

    text: its help, one sentence or two.  low, high: inclusive bounds of a number; `above` excludes the lower one.
    """

    text: str
    low: float = -math.inf
    high: float = math.inf
    above: bool = False


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What an option may be.

    kind: bool, int, float or str.  note: its help and bounds.
    choices: of a text.  words: texts that may stand in place of a number.  optional: None is allowed.
    """

    kind: Kind
    note: Note
    choices: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    optional: bool = False

    @property
    def text(self) -> str:
        """The option's help."""
        return self.note.text

    def checked(self, name: str, value: object) -> Any:  # noqa: ANN401  of the option's own type
        """Return `value`, integers as floats where floats are meant. Raises ConfigError naming the option."""
        if (value is None and self.optional) or (isinstance(value, str) and value in self.words):
            return value
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not self.kind or (isinstance(value, float) and not math.isfinite(value)):
            raise ConfigError(f"{name} is {value!r}; it must be {self.meaning()}.")
        if isinstance(value, str):
            fits = not self.choices or value in self.choices
        elif isinstance(value, bool):
            fits = True
        else:
            assert isinstance(value, int | float)
            low, high = self.note.low, self.note.high
            fits = low <= value <= high and not (self.note.above and value == low)
        if not fits:
            raise ConfigError(f"{name} is {value!r}; it must be {self.meaning()}.")
        return value

    def meaning(self) -> str:
        """Return what the option may be as words: `a number between 0 and 1`."""
        if self.kind is bool:
            return "true or false"
        if self.kind is str:
            return f"one of: {', '.join(self.choices)}" if self.choices else "a text"
        low, high = self.note.low, self.note.high
        words = f"{', '.join(self.words)}, or " if self.words else ""
        words += "a whole number" if self.kind is int else "a number"
        if low > -math.inf and high < math.inf and not self.note.above:
            return f"{words} between {low:g} and {high:g}"
        if low > -math.inf:
            words += f" above {low:g}" if self.note.above else f", at least {low:g}"
        return words + (f", at most {high:g}" if high < math.inf else "")


def option(
    default: T, text: str, *, low: float = -math.inf, high: float = math.inf, above: bool = False
) -> T:
    """Return the dataclass field of an option: its default, its help, and the bounds of a number (see `Note`)."""
    note = Note(text=text, low=low, high=high, above=above)
    return dataclasses.field(default=default, metadata={"note": note})


@functools.cache
def rules_of(config: type) -> dict[str, Rule]:
    """Return the rule of every option of a dataclass, in the order of the fields: kind and choices from its type."""
    annotations = get_type_hints(config)
    return {
        each.name: _rule(annotations[each.name], each.metadata["note"]) for each in dataclasses.fields(config)
    }


def _rule(annotation: object, note: Note) -> Rule:
    is_union = get_origin(annotation) in (Union, types.UnionType)
    parts: tuple[Any, ...] = get_args(annotation) if is_union else (annotation,)  # types
    texts = tuple(text for part in parts if get_origin(part) is Literal for text in get_args(part))
    kinds = [part for part in parts if part in (bool, int, float, str)]
    optional = types.NoneType in parts
    if not kinds:
        return Rule(kind=str, note=note, choices=texts, optional=optional)
    return Rule(kind=kinds[0], note=note, words=texts, optional=optional)


def require_set_name(name: str, where: str) -> None:
    """Raise ConfigError unless `name`, of an evaluation set, can be part of a file's name."""
    if not re.fullmatch(r"\w[\w.+=-]*", name):
        raise ConfigError(
            f"{where}: the evaluation set {name!r} cannot be called that; use letters, digits and . _ + = -"
        )
