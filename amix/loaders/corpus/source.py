"""What every kind of corpus gives: raw records in corpus order, and what its schema says about labels."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Kind = Literal["boolean", "integer", "string", "list"]

# Row number, the values of the columns asked for (None where a row has none), or why the row cannot be read.
Record = tuple[int, Sequence[Any] | None, str | None]


@dataclass(frozen=True, slots=True)
class LabelType:
    """What a schema says about the label column, so that the column need not be read to find out."""

    kind: Kind | None = None  # None: the values must tell
    names: tuple[str, ...] | None = None  # of a ClassLabel


class Source(Protocol):
    """Rows as they lie in files or on the Hub, before anything is checked but that they can be read."""

    identity: dict[str, Any]  # JSON-able; what decides the rows, without local paths
    what: str  # how messages name the corpus
    strings_only: bool  # no value has a type: CSV
    row_count: int | None  # where it is known without reading the rows

    def label_type(self, column: str) -> LabelType:
        """Return what is known about the label column without reading it."""
        ...

    def records(self, columns: Sequence[str], start: int = 0) -> Generator[Record, None, None]:
        """Yield records from row number `start` on. Raises CorpusError where the data breaks off."""
        ...
