"""One pass over a label column, when nothing else tells what its classes are."""

from amix.engine.base.errors import CorpusError
from amix.loaders.corpus.labels import Labels, UnusableError, kind_of, parsed
from amix.loaders.corpus.source import Kind

_MOST_CLASSES = 10_000


class Survey:
    """One pass over a label column: what kind its values are, and how many classes they make."""

    def __init__(self, what: str, column: str) -> None:
        self._where = f"{what}: the label column {column!r}"
        self._first: dict[Kind, int] = {}  # the first row of each kind
        self._strings: dict[str, None] = {}
        self._top = -1
        self._width = 0

    def add(self, row: int, value: object) -> None:
        """Add the label of row number `row`. Values that cannot be labels are left to `Labels.read`."""
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
            case bool() | int() | float():
                self._top = max(self._top, int(value))
                classes = self._top + 1
            case _:
                raise AssertionError(kind)
        self._require_few(classes)

    def finish(self, given: tuple[str, ...] | None, strings_only: bool) -> Labels:
        """Return how to read this column. Raises CorpusError for mixed kinds, or when no label can be used."""
        if len(self._first) > 1:
            kinds = ", ".join(f"{kind} (first in row {row})" for kind, row in sorted(self._first.items()))
            raise CorpusError(f"{self._where} mixes kinds: {kinds}. Make its values all of one kind.")
        kind = next(iter(self._first), None)
        parse = False
        if kind == "string" and strings_only:
            values = [parsed(value) for value in self._strings]
            if all(isinstance(value, bool) for value in values):
                kind, parse = "boolean", True
            elif all(isinstance(value, int) and not isinstance(value, bool) for value in values):
                kind, parse = "integer", True
                self._top = max(map(int, values))
                self._require_few(self._top + 1)
        if kind is None or (kind == "integer" and self._top < 0):
            raise CorpusError(
                f"{self._where} holds no label that can be used. "
                "Name the right one with --label-column, or use --no-labels."
            )
        return Labels(given or self._names(kind), kind, None, parse)

    def _require_few(self, classes: int) -> None:
        if classes > _MOST_CLASSES:
            raise CorpusError(
                f"{self._where} has more than {_MOST_CLASSES:,} classes: it looks like an id column or "
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
