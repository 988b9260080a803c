"""Parquet through pyarrow, row group by row group, only the columns needed."""

from collections.abc import Generator, Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from amix.loaders.corpus.datafile import DataFile
from amix.loaders.corpus.formats.columnar import Columnar, opened
from amix.loaders.corpus.formats.unpacked import damaged, reading
from amix.loaders.corpus.source import Record

_BATCH = 1024  # rows


class Parquet(Columnar):
    """One Parquet file."""

    def __init__(self, file: DataFile, place: str) -> None:
        """Read the footer. Raises CorpusError for a damaged file."""
        with _open(file) as parquet:
            super().__init__(file, place, parquet.schema_arrow)
            groups = range(parquet.num_row_groups)
            self._groups: list[int] = [parquet.metadata.row_group(group).num_rows for group in groups]
        self.row_count = sum(self._groups)

    def records(self, columns: Sequence[str], start: int, base: int) -> Generator[Record, None, int]:
        """Yield the records from row `start` on, without reading the row groups before it."""
        group, number = self._group_of(start)
        if group < len(self._groups):
            yield from self._rows(self._batches(group, columns), columns, number, start, base)
        return sum(self._groups)

    def entry(self, start: int) -> int:
        """Return the first row of the row group that holds row `start`."""
        return self._group_of(start)[1]

    def _group_of(self, row: int) -> tuple[int, int]:
        """Return the number of the row group that holds a row, and the group's first row."""
        group = number = 0
        while group < len(self._groups) and number + self._groups[group] <= row:
            number += self._groups[group]
            group += 1
        return group, number

    def _batches(self, group: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield batches from row group `group` on."""
        names = list(dict.fromkeys(columns))
        with _open(self._file) as parquet:
            try:
                for each in range(group, len(self._groups)):
                    # One at a time: pyarrow fetches all that are asked for at once.
                    yield from parquet.iter_batches(_BATCH, [each], names, use_threads=False)
            except (pa.ArrowException, OSError) as problem:
                raise damaged(self._file.path, problem) from None


def _open(file: DataFile) -> pq.ParquetFile:
    with reading(file.path):
        try:
            return pq.ParquetFile(opened(file, pa.OSFile))
        except pa.ArrowException as problem:
            raise damaged(file.path, problem) from None
