"""What is told about a corpus: which files were read, and why rows of it could not be used."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from amix.engine.base.words import counted

if TYPE_CHECKING:
    from amix.loaders.corpus import Corpus
    from amix.loaders.shards.records import Reject

_MOST = 20  # files that are listed


def corpus_lines(corpus: "Corpus") -> Iterator[str]:
    """Yield which files a corpus is read from, and how many rows each has."""
    files = corpus.files
    told = [
        ", ".join([f"{file.name}: {counted(file.row_count or 0, 'row')}", *file.remarks]) for file in files
    ]
    if len(files) == 1:
        yield f"reading {told[0]}"
    elif files:
        yield f"reading {len(files)} files, {counted(sum(file.row_count or 0 for file in files), 'row')}"
        yield from (f"  {line}" for line in told[:_MOST])
        if len(files) > _MOST:
            yield f"  and {len(files) - _MOST} more, which the manifest lists"


def reject_lines(rejects: Sequence["Reject"], place: str, corpus: "Corpus | None") -> Iterator[str]:
    """Yield how many rows have no sample, the commonest reasons, and what can be done about them.

    place: the file that lists them.
    """
    from amix.loaders.precompute.rejects import commonest

    rows = counted(len(rejects), "row")
    yield f"{rows} could not be used; {place} lists them. The commonest reasons:"
    yield from (f"  {line}" for line in commonest(rejects))
    remedy = None if corpus is None else corpus.remedy(reject.reason for reject in rejects)
    if remedy is not None:
        yield remedy
