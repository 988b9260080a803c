"""What is read of a corpus: its options, and the rows that come out."""

from collections.abc import Sequence
from dataclasses import dataclass

from amix.engine.base.errors import CorpusError


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a corpus, as a worker gets it.

    number: 0-based, rejected rows counted too.  reject: why it cannot be used; then there is no text.
    """

    number: int
    text: str | None
    pair: str | None = None
    label: int | None = None  # class id; None with no_labels
    labels: tuple[float, ...] | None = None  # multi-label or soft labels, in place of `label`
    reject: str | None = None


@dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """What to read of a corpus.

    config, revision: of a Hub data set; `config` also picks a subfolder of a local folder.
    labels: class names in the order of their ids, given by --labels or taken from another cache.
    limit: only so many rows from the start; class ids are those of the whole column all the same.
    """

    split: str = "train"
    config: str | None = None
    revision: str | None = None
    text_column: str = "text"
    pair_column: str | None = None
    label_column: str = "label"
    no_labels: bool = False
    labels: tuple[str, ...] | None = None
    limit: int | None = None


def check_columns(what: str, columns: Sequence[str], options: CorpusOptions) -> None:
    """Raise CorpusError unless the columns asked for are among `columns`."""
    wanted = [(options.text_column, "--text-column", ""), (options.pair_column, "--pair-column", "")]
    if not options.no_labels:
        wanted.append((options.label_column, "--label-column", ", or use --no-labels"))
    for column, option, otherwise in wanted:
        if column is not None and column not in columns:
            raise CorpusError(
                f"{what}: has no column {column!r}. It has: {', '.join(columns)}. "
                f"Name the right one with {option}{otherwise}."
            )
