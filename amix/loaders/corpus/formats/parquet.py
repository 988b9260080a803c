"""Parquet through pyarrow, row group by row group, only the columns needed."""

import os
from collections.abc import Generator, Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from amix.loaders.corpus.datafile import DataFile
from amix.loaders.corpus.formats.columnar import Columnar
from amix.loaders.corpus.formats.unpacked import damaged, reading
from amix.loaders.corpus.source import Record

_BATCH = 1024  # rows


class Parquet(Columnar):
    """One Parquet file."""

    def __init__(self, file: DataFile, place: str) -> None:
        """Read the footer. Raises CorpusError for a damaged file."""
        self._file = file
        with self._open() as parquet:
            super().__init__(file, place, parquet.schema_arrow)
            groups = range(parquet.num_row_groups)
            self._groups: list[int] = [parquet.metadata.row_group(group).num_rows for group in groups]
        self.row_count = sum(self._groups)

    def records(self, columns: Sequence[str], start: int, base: int) -> Generator[Record, None, int]:
        """Yield the records from row `start` on, without reading the row groups before it."""
        total = sum(self._groups)
        group = number = 0
        while group < len(self._groups) and number + self._groups[group] <= start:
            number += self._groups[group]
            group += 1
        if number < total:
            yield from self._rows(self._batches(group, columns), columns, number, start, base)
        return total

    def _batches(self, group: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield batches from row group `group` on."""
        groups = list(range(group, len(self._groups)))
        with self._open() as parquet:
            try:
                yield from parquet.iter_batches(
                    _BATCH, groups, list(dict.fromkeys(columns)), use_threads=False
                )
            except (pa.ArrowException, OSError) as problem:
                raise damaged(self._path, problem) from None

    def _open(self) -> pq.ParquetFile:
        with reading(self._file.path):
            try:
                # Opened by its bytes, since pyarrow takes no path that is not UTF-8.
                return pq.ParquetFile(pa.OSFile(os.fsencode(self._file.path)))
            except pa.ArrowException as problem:
                raise damaged(self._file.path, problem) from None
