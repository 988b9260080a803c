"""Lists as labels, as one pass over the column finds them: a weight for every class, or the classes that a text has."""

from collections import Counter
from collections.abc import Sequence

from amix.loaders.corpus.labels import UnusableError, kind_of
from amix.loaders.corpus.source import Kind


class Lists:
    """What the lists of one label column hold.

    width: the length of the first list of numbers.  empty: some list holds nothing.
    """

    def __init__(self) -> None:
        self.width = 0
        self.empty = False
        self._names: Counter[str] = Counter()
        self._numbers: Counter[int] = Counter()
        self._widths: set[int] = set()
        self._weights = False

    def add(self, values: Sequence[object]) -> None:
        """Add the list of one row."""
        if holds_names(values):
            self._names.update({str(value).strip() for value in values if _kind(value) == "string"})
            return
        self.width = self.width or len(values)
        self._widths.add(len(values))
        ids = {value for value in values if isinstance(value, int | float) and _kind(value) == "integer"}
        if len(ids) < len(values) or min(ids) < 0:  # other values than ids, or an id twice
            self._weights = True
        if not self._weights:
            self._numbers.update(map(int, ids))

    @property
    def classes(self) -> int:
        """How many classes the lists make so far, at least."""
        return len(self._names) or (self.width if self._weights else len(self._numbers))

    def members(self, given: Sequence[str] | None) -> dict[str, int] | None:
        """Return the classes in their order, with counts, if each list holds the classes that a text has.

        Return None if it holds a weight for every class. Lists of whole numbers are taken as weights wherever they
        can be: if all have the same length, and all numbers are 0 or 1.
        given: the class names, if the user gave them.
        """
        if self._names:
            return dict(sorted(self._names.items()))
        if self._weights:
            return None
        single = self.width == 1 and self.empty
        misfit = given is not None and len(given) != self.width
        if len(self._widths) > 1 or max(self._numbers) > 1 or single or misfit:
            return {str(number): count for number, count in sorted(self._numbers.items())}
        return None


def holds_names(values: Sequence[object]) -> bool:
    """Tell whether a list holds strings and nothing else."""
    return all(isinstance(value, str) for value in values)


def _kind(value: object) -> Kind | None:
    try:
        return kind_of(value)
    except UnusableError:
        return None
