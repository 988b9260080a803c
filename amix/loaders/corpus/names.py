"""Class names: how they are shown, which ones a user may give, and which of them look alike."""

import unicodedata
from collections.abc import Iterable, Sequence

from amix.engine.base.errors import UsageError

_LONGEST = 80  # characters of a name that are shown


def listed(names: Sequence[str], most: int = 20) -> str:
    """Return the names with commas, cut off after `most`; each is cut short too."""
    more = f", and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(shown, names[:most])) + more


def shown(name: str) -> str:
    """Return a name, cut short."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."


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


def lookalikes(names: Iterable[str]) -> list[list[str]]:
    """Return groups of names that differ only in white space, invisible characters, case or Unicode form."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_folded(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _folded(name: str) -> str:
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(character for character in text if unicodedata.category(character)[0] not in "ZC")
