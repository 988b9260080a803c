"""A first look at a corpus: its columns, and its rows and classes as far as they are cheap to count."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from amix.engine.base.errors import CorpusError
from amix.loaders.corpus.corpus import Corpus, open_corpus
from amix.loaders.corpus.files import reader_of
from amix.loaders.corpus.find import find_files
from amix.loaders.corpus.rows import CorpusOptions, columns_of

_CHEAP = 50_000_000  # bytes of files that are read in seconds


@dataclass(frozen=True, kw_only=True)
class Glance:
    """What a first look at a corpus shows.

    columns: of its first file.
    text_column, label_column: those that are read where no others are named, None where no column has that name.
    rows, rejects: all rows, and those of them that cannot be used; None where counting takes long.
    classes: how many rows each has, None where a row may have several; all of it None where that was not counted.
    problem: why rows were not counted, where they cannot be read as they are.
    """

    columns: tuple[str, ...]
    text_column: str | None
    label_column: str | None
    rows: int | None = None
    rejects: int | None = None
    classes: Mapping[str, int | None] | None = None
    problem: str | None = None


def glance_at(source: str) -> Glance:
    """Look at files of this machine, or the training split of a folder.

    Raises CorpusError where they cannot be read at all.
    """
    options = CorpusOptions()
    files = find_files(source, options.split, options.config)
    is_cheap = sum(file.path.stat().st_size for file in files) <= _CHEAP
    # A CSV file's separator shows by the columns that are wanted; JSON Lines would be searched for them to the end.
    wanted = columns_of(options) if is_cheap or files[0].format != "jsonl" else ()
    readers = [reader_of(file, "", wanted, options.encoding) for file in files]
    columns = readers[0].columns() or ()
    text, label = (each if each in columns else None for each in (options.text_column, options.label_column))
    found = Glance(columns=tuple(columns), text_column=text, label_column=label)
    if not is_cheap:
        known = [reader.row_count for reader in readers]
        return found if None in known else replace(found, rows=sum(filter(None, known)))
    try:
        if text is None:
            return replace(found, rows=sum(1 for reader in readers for _ in reader.records((), 0, 0)))
        return _counted(found, open_corpus(source, replace(options, no_labels=label is None)))
    except CorpusError as problem:
        return replace(found, problem=str(problem))


def _counted(found: Glance, corpus: Corpus) -> Glance:
    rows, rejects = 0, 0
    counts: Counter[int | None] = Counter()
    for row in corpus.rows():
        rows += 1
        rejects += row.reject is not None
        counts[row.label] += row.reject is None
    classes = {
        name: None if corpus.multi_label else counts[number]
        for number, name in enumerate(corpus.label_names or ())
    }
    return replace(found, rows=rows, rejects=rejects, classes=classes or None)
