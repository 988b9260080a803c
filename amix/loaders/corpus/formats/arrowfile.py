"""Arrow files, as `save_to_disk` of `datasets` writes them: mapped into memory, batch by batch."""

import contextlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from amix.loaders.corpus.datafile import DataFile
from amix.loaders.corpus.formats.columnar import Columnar, opened
from amix.loaders.corpus.formats.unpacked import damaged, reading
from amix.loaders.corpus.source import Record

_FILE_SIGN = b"ARROW1"


class ArrowFile(Columnar):
    """One file in Arrow's stream or file format."""

    def __init__(self, file: DataFile, place: str) -> None:
        """Read the schema and count the rows. Raises CorpusError for a damaged file."""
        with _opened(file) as (schema, batches):
            super().__init__(file, place, schema)
            self.row_count = sum(batch.num_rows for batch in batches)

    def records(self, columns: Sequence[str], start: int, base: int) -> Generator[Record, None, int]:
        """Yield the records from row `start` on."""
        with _opened(self._file) as (_, batches):
            yield from self._rows(batches, columns, 0, start, base)
        assert self.row_count is not None
        return self.row_count

    def entry(self, start: int) -> int:
        """Return `start`: what lies before it is mapped, and not read. In a store it is fetched."""
        return start if isinstance(self._file.path, Path) else 0


@contextlib.contextmanager
def _opened(file: DataFile) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """Open the file; gives its schema and its batches."""
    with reading(file.path):
        try:
            with opened(file, pa.memory_map) as source:
                if source.read(len(_FILE_SIGN)) == _FILE_SIGN:
                    whole = pa.ipc.open_file(source)
                    yield whole.schema, map(whole.get_batch, range(whole.num_record_batches))
                else:
                    source.seek(0)
                    stream = pa.ipc.open_stream(source)
                    yield stream.schema, iter(stream)
        except pa.ArrowException as problem:
            raise damaged(file.path, problem) from None
