"""Ranges of a corpus, read by themselves: what a process needs that has the corpus and is told the numbers of rows."""

from collections.abc import Generator

from amix.loaders.corpus.corpus import Corpus
from amix.loaders.corpus.rows import Row


class RangeReader:
    """Reads ranges of rows, best in ascending order: where a range lies ahead of the last one, reading goes on there.

    A range costs little more than its own rows in Parquet (from the start of its row group) and in plain JSON Lines
    in UTF-8. CSV, packed files, JSON arrays, other encodings and the Hub are read from their beginning, once.
    """

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._stream: Generator[Row, None, None] | None = None
        self._next = 0  # the row that the stream yields next

    def read(self, start: int, stop: int) -> list[Row]:
        """Return the rows from number `start` to before `stop`; fewer at the end of the corpus, none past it."""
        if self._stream is None or not self._corpus.entry(start) <= self._next <= start:
            self.close()
            self._stream, self._next = self._corpus.rows(start), start
        rows: list[Row] = []
        while self._next < stop:
            row = next(self._stream, None)
            if row is None:
                break
            self._next = row.number + 1
            if row.number >= start:
                rows.append(row)
        return rows

    def close(self) -> None:
        """Close what is open. Reading may begin anew."""
        if self._stream is not None:
            self._stream.close()
        self._stream = None
