"""What every kind of corpus provides: raw records in corpus order, and what its schema says about labels."""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Kind = Literal["boolean", "integer", "string", "list"]

# Row number, the values of the columns asked for (None where a row has none), or why the row cannot be read.
Record = tuple[int, Sequence[object] | None, str | None]


@dataclass(frozen=True, slots=True)
class LabelType:
    """What a schema says about the label column, so that the column need not be read to find out."""

    kind: Kind | None = None  # None: only the values show it
    names: tuple[str, ...] | None = None  # of a ClassLabel


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A local file that was read.

    name: without the path to the corpus.  row_count: rows that were taken from it; None if not all were counted yet.
    remarks: how it is written, where that is unusual.
    """

    name: str
    row_count: int | None
    remarks: tuple[str, ...] = ()


class Source(Protocol):
    """Rows as they are in files or on the Hub; nothing is checked yet except that they can be read."""

    identity: dict[str, object]  # JSON; what decides the rows, without local paths
    what: str  # how messages name the corpus
    strings_only: bool  # all values are strings, as in CSV

    @property
    def row_count(self) -> int | None:
        """Number of rows, or None where it is not known before the rows are read."""
        ...

    def label_type(self, column: str) -> LabelType:
        """Return what is known about the label column without reading it."""
        ...

    def records(self, columns: Sequence[str], start: int = 0) -> Generator[Record, None, None]:
        """Yield records from row number `start` on. Raises CorpusError where the data ends too early."""
        ...

    def entry(self, start: int) -> int:
        """Return the row from which the data has to be read to get at row `start`: 0 where it can only be skipped."""
        ...

    def require_unchanged(self) -> None:
        """Raise CorpusError where this machine does not see the data that was opened, as far as that can be told."""
        ...

    def count(self, limit: int | None) -> None:
        """Learn how many of the first `limit` rows there are, if one pass without computing can tell."""
        ...

    def files(self, limit: int | None) -> Sequence[SourceFile]:
        """Return the local files, in order, with the rows among the first `limit` that each has."""
        ...

    def remedy(self, reasons: Iterable[str]) -> str | None:
        """Return what the user can do about rows that cannot be read for these reasons, if it can be told."""
        ...
