"""A corpus as rows: number, text, class id, or the reason why the row cannot be used."""

import contextlib
import re
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from amix.engine.base.errors import CorpusError, UsageError
from amix.loaders.corpus.labels import Labels, UnusableError, from_schema
from amix.loaders.corpus.names import require_class_names
from amix.loaders.corpus.rows import CorpusOptions, Row, columns_of
from amix.loaders.corpus.source import Source, SourceFile
from amix.loaders.corpus.survey import Survey
from amix.loaders.corpus.text import flaw_of_text
from amix.loaders.stores import is_remote, shown

_FILE_SUFFIXES = frozenset({".txt", ".tsv", ".gz", ".zst", ".arrow"})  # never of a data set on the Hub
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


class Corpus:
    """A checked corpus, open for reading in order as often as needed. Pickled, it can be read in another process.

    row_count: rows that `rows()` yields, rejected ones too; the limit, or None, if it is not known before reading.
    identity: JSON; what decides the rows: contents, columns, class names and limit, but no local path.
    label_names: one per class; None with no_labels.  multi_label: rows have `labels` instead of `label`.
    """

    row_count: int | None
    identity: dict[str, object]
    label_names: tuple[str, ...] | None
    multi_label: bool

    def __init__(self, source: Source, options: CorpusOptions) -> None:
        """Decide the class ids, which may take one pass over the label column. Raises CorpusError."""
        self._source = source
        self._options = options
        self._labels: Labels | None = None
        count: int | None = None
        if not options.no_labels:
            self._labels, count = _decide_labels(source, options)
        source.count(options.limit)
        known = [each for each in (options.limit, count, source.row_count) if each is not None]
        self.row_count = min(known, default=None)
        self.label_names = None if self._labels is None else self._labels.names
        self.multi_label = self._labels is not None and self._labels.multi_label
        self.identity = {
            **source.identity,
            "text_column": options.text_column,
            "pair_column": options.pair_column,
            "label_column": None if options.no_labels else options.label_column,
            "label_names": None if self.label_names is None else list(self.label_names),
            "limit": options.limit,
        }
        with contextlib.closing(self.rows()) as rows:
            if next(rows, None) is None:
                raise _no_rows(source)

    @property
    def files(self) -> Sequence[SourceFile]:
        """The local files that are read, in order, and how many rows are taken from each."""
        return self._source.files(self._options.limit)

    def remedy(self, reasons: Iterable[str]) -> str | None:
        """Return what to do about rows that cannot be used for these reasons, or None if only the user can know."""
        return self._source.remedy(reasons)

    def entry(self, start: int) -> int:
        """Return the row from which `rows(start)` has to read: near it in Parquet and JSON Lines, else 0."""
        return self._source.entry(start)

    def require_unchanged(self) -> None:
        """Raise CorpusError where this machine does not see the data that was opened, as far as that can be told."""
        self._source.require_unchanged()

    def rows(self, start: int = 0) -> Generator[Row, None, None]:
        """Yield rows in corpus order from row number `start` up to the limit, a few in memory at a time."""
        options, labels = self._options, self._labels
        stop = options.limit
        if stop is not None and start >= stop:
            return
        paired = options.pair_column is not None
        # Closed here and not by the garbage collector, because an open stream may hold threads at exit.
        with contextlib.closing(self._source.records(columns_of(options), start)) as records:
            for number, values, reject in records:
                yield _bad(number, reject) if values is None else _row(number, values, paired, labels)
                if stop is not None and number + 1 >= stop:
                    return


def _bad(number: int, reason: str | None) -> Row:
    return Row(number, None, reject=reason or "cannot be read")


def _row(number: int, values: Sequence[object], paired: bool, labels: Labels | None) -> Row:
    text, pair = values[0], values[1] if paired else None
    flaw = flaw_of_text(text)
    if flaw is not None:
        return _bad(number, f"text {flaw}")
    if paired:
        flaw = flaw_of_text(pair)
        if flaw is not None:
            return _bad(number, f"pair {flaw}")
    assert isinstance(text, str)
    assert pair is None or isinstance(pair, str)
    if labels is None:
        return Row(number, text, pair)
    try:
        label = labels.read(values[-1])
    except UnusableError as problem:
        return _bad(number, str(problem))
    if isinstance(label, int):
        return Row(number, text, pair, label)
    return Row(number, text, pair, labels=label)


def _decide_labels(source: Source, options: CorpusOptions) -> tuple[Labels, int | None]:
    """Return the class ids, and the number of rows if they had to be read."""
    column = options.label_column
    schema = source.label_type(column)
    labels = from_schema(source.what, column, schema, options.labels)
    if labels is not None:
        return labels, None
    survey = Survey(source.what, column, options, strings_only=source.strings_only)
    number, readable, flaw = -1, 0, None
    for number, values, reject in source.records([column]):
        if values is None:
            flaw = flaw or reject or "cannot be read"
        else:
            readable += 1
            survey.add(number, values[0])
    if number < 0:
        raise _no_rows(source)
    if not readable:  # whatever the label column holds is not the matter then
        remedy = source.remedy([str(flaw)]) or "Repair the file."
        raise CorpusError(f"{source.what}: none of its rows can be read (the first: {flaw}). {remedy}")
    return survey.finish(), number + 1


def _no_rows(source: Source) -> CorpusError:
    return CorpusError(f"{source.what}: holds no rows. Name a corpus with at least one text.")


def open_corpus(
    source: str,
    options: CorpusOptions,
    storage_options: dict[str, Any] | None = None,  # Any: fsspec's own options
) -> Corpus:
    """Open files, a glob of them, a folder in Hub layout, or a Hub data set.

    source: files and globs may be URLs that fsspec reads (`s3://bucket/texts/*.parquet`); they are read where they are.
    Raises CorpusError when it is not there or cannot be read, UsageError for impossible options.
    """
    if options.limit is not None and options.limit < 1:
        raise UsageError(f"--limit {options.limit}: it must be at least 1 row.")
    if options.labels is not None:
        require_class_names(options.labels)
        options = replace(options, labels=tuple(options.labels))
    if is_remote(source):
        from amix.loaders.corpus.elsewhere import find_remote
        from amix.loaders.corpus.files import FileSource

        return Corpus(FileSource(shown(source), find_remote(source, storage_options), options), options)
    if _is_hub_id(source):
        from amix.loaders.corpus.hub import open_hub

        return Corpus(open_hub(source, options), options)
    from amix.loaders.corpus.files import FileSource
    from amix.loaders.corpus.find import find_files

    return Corpus(FileSource(source, find_files(source, options.split, options.config), options), options)


def _is_hub_id(source: str) -> bool:
    from amix.loaders.corpus.datafile import format_of

    try:
        if not _HUB_ID.fullmatch(source) or Path(source).exists():
            return False
    except OSError:  # such as a name that is too long: `find_files` says what is wrong with it
        return False
    return format_of(Path(source)) is None and Path(source).suffix not in _FILE_SUFFIXES
