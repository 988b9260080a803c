"""What an option may be: its kind, its range, and the words that say so."""

import math
import re
from dataclasses import dataclass
from typing import Any

from amix.engine.base.errors import ConfigError

Kind = type[bool] | type[int] | type[float] | type[str]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What an option may be.

    kind: bool, int, float or str.  low, high: inclusive bounds of a number; `above` excludes the lower one.
    choices: of a text.  words: texts that a number may be given as.  optional: None is allowed.
    text: one line of help.
    """

    kind: Kind
    text: str
    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    choices: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    optional: bool = False

    def checked(self, name: str, value: object) -> Any:  # noqa: ANN401
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
            fits = self.low <= value <= self.high and not (self.above and value == self.low)
        if not fits:
            raise ConfigError(f"{name} is {value!r}; it must be {self.meaning()}.")
        return value

    def meaning(self) -> str:
        """Return what the option may be as words: `a number between 0 and 1`."""
        if self.kind is bool:
            return "true or false"
        if self.kind is str:
            return f"one of: {', '.join(self.choices)}" if self.choices else "a text"
        words = "".join(f"{word}, or " for word in self.words)
        words += "a whole number" if self.kind is int else "a number"
        if self.low > -math.inf and self.high < math.inf and not self.above:
            return f"{words} between {self.low:g} and {self.high:g}"
        if self.low > -math.inf:
            words += f" above {self.low:g}" if self.above else f", at least {self.low:g}"
        return words + (f", at most {self.high:g}" if self.high < math.inf else "")


def rule(
    kind: Kind,
    text: str,
    **rest: Any,  # noqa: ANN401  the other fields of Rule
) -> dict[str, Rule]:
    """Return the metadata of a dataclass field that has this rule."""
    return {"rule": Rule(kind=kind, text=text, **rest)}


def require_set_name(name: str, where: str) -> None:
    """Raise ConfigError unless `name`, of an evaluation set, can stand in the name of a file."""
    if not re.fullmatch(r"\w[\w.+=-]*", name):
        raise ConfigError(
            f"{where}: the evaluation set {name!r} cannot be called that; use letters, digits and . _ + = -"
        )
