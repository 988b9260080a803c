"""What to read of a corpus, and the rows that come out."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from amix.engine.base.errors import CorpusError
from amix.loaders.corpus.names import listed, lookalikes

UNLABELLED = "Texts without labels are for 'amix precompute --no-labels'."


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a corpus, as a worker gets it.

    number: from 0, counting rejected rows too.  label: class id; None with no_labels.
    labels: multi-label or soft labels, instead of `label`.  reject: why the row cannot be used; it has no text then.
    """

    number: int
    text: str | None
    pair: str | None = None
    label: int | None = None
    labels: tuple[float, ...] | None = None
    reject: str | None = None


@dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """What to read of a corpus.

    config, revision: of a Hub data set; `config` also picks a subfolder of a local folder.
    labels: class names in the order of their ids, given by --labels or taken from another cache.
    many_classes: take more classes than a classifier could learn from the rows.
    limit: read only this many rows from the start; the class ids are still those of the whole column.
    encoding: of local text files that begin with no byte order mark; None is UTF-8.
    """

    split: str = "train"
    config: str | None = None
    revision: str | None = None
    text_column: str = "text"
    pair_column: str | None = None
    label_column: str = "label"
    no_labels: bool = False
    labels: tuple[str, ...] | None = None
    many_classes: bool = False
    limit: int | None = None
    encoding: str | None = None


def columns_of(options: CorpusOptions) -> list[str]:
    """Return the columns to read: of the text, of the second text if there is one, and of the label."""
    columns = (options.text_column, options.pair_column, None if options.no_labels else options.label_column)
    return [column for column in columns if column is not None]


def require_columns(what: str, columns: Sequence[str], options: CorpusOptions, advice: str = "") -> None:
    """Raise CorpusError unless each column asked for is among `columns`, once. advice: what else may be wrong."""
    wanted = [(options.text_column, "--text-column", ""), (options.pair_column, "--pair-column", "")]
    if not options.no_labels:
        wanted.append((options.label_column, "--label-column", f" {UNLABELLED}"))
    for column, option, otherwise in wanted:
        if column is not None and column not in columns:
            near = [each for each in columns if lookalikes([column, each])]
            if len(near) == 1:
                raise CorpusError(
                    f"{what}: has no column {column!r}, but {near[0]!r}. Give {option} {shlex.quote(near[0])}."
                )
            names = [each if each == each.strip() else repr(each) for each in columns]
            raise CorpusError(
                f"{what}: has no column {column!r}. It has: {listed(names, 30)}. "
                f"Name the right one with {option}.{otherwise}{advice}"
            )
        if column is not None and columns.count(column) > 1:
            raise CorpusError(f"{what}: names {column!r} twice among its columns. Rename one of them.")
