"""A data set on the Hugging Face Hub, streamed at one commit."""

import logging
from collections.abc import Generator, Iterable, Sequence
from typing import TYPE_CHECKING

from amix.engine.base.errors import CorpusError
from amix.loaders.corpus.rows import CorpusOptions, columns_of, require_columns
from amix.loaders.corpus.source import Kind, LabelType, Record, SourceFile

if TYPE_CHECKING:
    from datasets import IterableDataset

_LOG = logging.getLogger(__name__)
_SAMPLE = 1000  # rows that are searched for the columns, where the data set does not name them


def open_hub(name: str, options: CorpusOptions) -> "HubSource":
    """Resolve the commit of data set `name` and open one split of it as a stream. Raises CorpusError."""
    import datasets
    from huggingface_hub import HfApi

    try:
        commit = HfApi().dataset_info(name, revision=options.revision).sha
    except Exception as problem:  # a dozen types, from no network to no such revision
        raise CorpusError(
            f"{name}: there is no such file or folder here, and no data set of this name can be read from the Hub "
            f"({_shown(problem)}). Check the name, --revision, the network and, if access is restricted, your login."
        ) from problem
    try:
        splits = datasets.get_dataset_split_names(name, options.config, revision=commit)
        if options.split not in splits:
            raise CorpusError(
                f"{name}: has no split {options.split!r}. Pick with --split: {', '.join(splits)}."
            )
        stream = datasets.load_dataset(
            name, options.config, split=options.split, revision=commit, streaming=True
        )
    except CorpusError:
        raise
    except Exception as problem:  # the files of somebody's repository may lead to any error
        raise CorpusError(
            f"{name}: the data set cannot be opened ({_shown(problem)}). Check --config and --split."
        ) from problem
    identity: dict[str, object] = {
        "kind": "hub",
        "id": name,
        "commit": commit,
        "config": options.config,
        "split": options.split,
    }
    return HubSource(name, stream, identity, options)


class HubSource:
    """A stream of `datasets` as a source of records."""

    strings_only = False

    def __init__(
        self, what: str, stream: "IterableDataset", identity: dict[str, object], options: CorpusOptions
    ) -> None:
        """Check the columns. Raises CorpusError."""
        self.what = what
        self.identity = identity
        if options.encoding is not None:
            _LOG.warning("--encoding is not used: the data sets of the Hub are Unicode.")
        self._stream = stream
        described = (stream.info.splits or {}).get(options.split)
        self.row_count: int | None = None if described is None else described.num_examples or None
        self._features: dict[str, object] = dict(stream.features or {})
        try:
            columns = list(self._features) or _keys(stream, columns_of(options))
        except Exception as problem:  # of the network, or of the files
            raise CorpusError(f"{what}: its first rows cannot be read ({_shown(problem)}).") from problem
        if not columns:
            raise CorpusError(f"{what}: holds no rows. Name another --split or --config.")
        require_columns(what, columns, options)
        for column in (options.text_column, options.pair_column):
            feature = self._features.get(column) if column is not None else None
            if feature is not None and type(feature).__name__ != "Value":
                raise CorpusError(
                    f"{what}: column {column!r} holds {feature}, which is not text. Name a column of strings "
                    f"with --text-column or --pair-column: {', '.join(columns)}."
                )

    def label_type(self, column: str) -> LabelType:
        """Return what the features say: the kind, and the names of a ClassLabel or a list of them."""
        feature = self._features.get(column)
        inner = getattr(feature, "feature", None)
        if isinstance(feature, list) and len(feature) == 1:
            inner = feature[0]
        names = getattr(feature if inner is None else inner, "names", None)
        kind = "list" if inner is not None else "integer" if names else _kind(getattr(feature, "dtype", ""))
        return LabelType(kind, None if names is None else tuple(names))

    def records(self, columns: Sequence[str], start: int = 0) -> Generator[Record, None, None]:
        """Yield records from row number `start` on."""
        stream = self._stream
        if self._features:
            stream = stream.select_columns(list(dict.fromkeys(columns)))
        number = start
        try:
            for row in stream.skip(start) if start else stream:
                yield number, [row.get(column) for column in columns], None
                number += 1
        except Exception as problem:  # of the network, or of the files
            raise CorpusError(
                f"{self.what}: the stream ended with an error at row {number} ({_shown(problem)}). Run again."
            ) from problem

    def entry(self, start: int) -> int:
        """Return 0: a stream skips what it is not asked for."""
        return 0

    def require_unchanged(self) -> None:
        """Do nothing: a commit is the same everywhere."""

    def count(self, limit: int | None) -> None:
        """Count nothing: a pass over the stream would fetch all of it."""

    def files(self, limit: int | None) -> Sequence[SourceFile]:
        """Return nothing: no local file was read, and commit and split are in the identity."""
        return ()

    def remedy(self, reasons: Iterable[str]) -> str | None:
        """Return nothing: rows of the Hub are Unicode."""
        return None


def _keys(stream: "IterableDataset", wanted: Sequence[str]) -> list[str]:
    """Return the keys of the first row, and of more until all that are wanted were seen."""
    keys: dict[str, None] = {}
    for row in stream.take(_SAMPLE):
        keys.update(dict.fromkeys(row))
        if keys.keys() >= set(wanted):
            break
    return list(keys)


def _kind(dtype: str) -> Kind | None:
    if dtype == "bool":
        return "boolean"
    if dtype.startswith(("int", "uint", "float")):
        return "integer"
    return "string" if dtype in ("string", "large_string", "string_view") else None


def _shown(problem: Exception) -> str:
    return f"{type(problem).__name__}: {' '.join(str(problem).split())[:300]}"
