"""Rows that cannot be used: a few are tolerated, too many stop the run."""

from collections.abc import Sequence

from amix.engine.base.errors import CorpusError
from amix.loaders.shards.records import Reject


class Rejects:
    """Counts rows that cannot be used, and stops the run past the limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rows: list[Reject] = []

    def add(self, rejects: Sequence[Reject]) -> None:
        """Count these too. Raises CorpusError past the limit."""
        self._rows += rejects
        if len(self._rows) > self._limit:
            raise CorpusError(
                f"{len(self._rows)} rows cannot be used, --max-rejects is {self._limit}. {self.first()} "
                "Repair the corpus, or allow more rejects and run the same command again; finished shards are kept."
            )

    def first(self) -> str:
        """Return a sentence about each of the first rows."""
        shown = sorted(self._rows)[:3]
        return " ".join(f"Row {reject.row}: {reject.reason.rstrip('.')}." for reject in shown)
