"""Rows that cannot be used: a few are tolerated, too many stop the run."""

import math
import re
from collections.abc import Callable, Iterable, Sequence

from amix.engine.base.errors import CorpusError
from amix.engine.base.words import counted
from amix.loaders.shards.records import Reject

SHARE = 0.01  # of the rows that is tolerated where nothing else is said
FEWEST = 10  # rows that are tolerated then in any case
_PLACE = re.compile(r"(?:file \d+, )?(?:lines? \d+(?: to \d+)?|item \d+|row \d+): ")
_VARYING = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|0x[0-9a-f]+|\d+")


def tolerated(limit: int | float | None, rows: int) -> int:
    """Return how many of `rows` may be unusable. limit: a number of rows, a share as a float, or None."""
    if limit is None:
        return max(FEWEST, math.floor(rows * SHARE))
    return math.floor(rows * limit) if isinstance(limit, float) else limit


class Rejects:
    """Counts rows that cannot be used, and stops the run past the limit.

    source: the corpus, for messages.  limit: as in `tolerated`.
    row_count: of the corpus; None if that is known at the end only, where `finish` is told.
    remedy: asked with the reasons for what can be done about them.
    """

    def __init__(
        self,
        source: str,
        limit: int | float | None,
        row_count: int | None,
        remedy: Callable[[Iterable[str]], str | None] = lambda reasons: None,
    ) -> None:
        self._source = source
        self._limit = limit
        self._row_count = row_count
        self._remedy = remedy
        self._rows: list[Reject] = []

    def add(self, rejects: Sequence[Reject]) -> None:
        """Count these too. Raises CorpusError past the limit."""
        self._rows += rejects
        if isinstance(self._limit, int):
            self._require_few(0)
        elif self._row_count is not None:
            self._require_few(self._row_count)

    def finish(self, row_count: int) -> None:
        """Compare with the rows that there were. Raises CorpusError past the limit."""
        self._require_few(row_count)

    def described(self) -> str:
        """Return the commonest reasons in one sentence, and what can be done."""
        shown = "; ".join(commonest(self._rows))
        remedy = self._remedy(reject.reason for reject in self._rows)
        return f"Commonest reasons: {shown}." + (f" {remedy}" if remedy else "")

    def _require_few(self, row_count: int) -> None:
        most = tolerated(self._limit, row_count)
        if len(self._rows) <= most:
            return
        more = f"more than the {most:,} of {row_count:,} that are tolerated"
        raise CorpusError(
            f"{self._source}: {counted(len(self._rows), 'row')} cannot be used, "
            f"{f'--max-rejects is {most}' if isinstance(self._limit, int) else more}. {self.described()} "
            "Repair the corpus, or allow more with --max-rejects and run the same command again; finished shards are "
            "kept."
        )


def commonest(rejects: Iterable[Reject], most: int = 5) -> list[str]:
    """Return the commonest kinds of reasons: how many rows each has, and the first of them with its reason."""
    kinds: dict[str, list[Reject]] = {}
    for reject in sorted(rejects):
        kinds.setdefault(_VARYING.sub("#", _PLACE.sub("", reject.reason, 1)), []).append(reject)
    ordered = sorted(kinds.values(), key=len, reverse=True)
    lines = [f"{len(found):,} x {_shown(found[0])}" for found in ordered[:most]]
    if len(ordered) > most:
        lines.append(f"{sum(map(len, ordered[most:])):,} x others")
    return lines


def _shown(reject: Reject) -> str:
    place = _PLACE.match(reject.reason)
    reason = reject.reason[place.end() :] if place else reject.reason
    where = f"row {reject.row}" + (f", {place[0].removesuffix(': ')}" if place else "")
    return f"{reason.rstrip('.')} (first: {where})"
