"""The samples of a cache by number, each with the relevance of one head spec or of several.

Axes: S head specs, T tokens, C classes.
"""

import contextlib
import copy
import dataclasses
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from amix.engine.base.errors import ShardError, UsageError
from amix.loaders.shards.layout import Wanted
from amix.loaders.shards.manifest import Manifest
from amix.loaders.shards.openfiles import OpenShards
from amix.loaders.shards.reader import ShardReader
from amix.loaders.shards.remote import Ahead, CacheOptions, Mirror
from amix.loaders.stores import is_remote
from amix.loaders.stream.batch import ArrayBatch
from amix.loaders.stream.decoding import Decoder, Picked
from amix.loaders.stream.flat import FlatBatch

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    Samples = Dataset[dict[str, Any]]
else:
    Samples = object  # torch only needs these methods, not the base class, and reading shards needs no torch

_DEPTH = 4  # shards fetched ahead
_AT_ONCE = 4096  # batches whose shards are looked up together
Damaged = Literal["error", "skip"]
_LOG = logging.getLogger(__name__)


class RelevanceDataset(Samples):
    """Map-style access to a cache that `amix precompute` wrote; works as a torch dataset.

    folder: the cache: a path, or a URL (`s3://`, `gs://`, `hf://`, `https://`) whose shards are fetched when they are
        needed and kept in a local store, as `cache` says. `storage_options` go to fsspec.
    head: a head spec (`0.8`, `0.mean`, `mean`, `0.8,1.3`), or several with `|` between them (`0.8|1.mean`), of which
        a mixer draws one per batch; None reads no relevance.
    damaged: what to do about damage. `error` = raise ShardError; `skip` = go on without the shards that are found
        damaged on opening and the samples that are found damaged on reading, warn once for each shard, and count the
        lost samples in `skipped`.
    On opening, manifest and records are checked by their hashes and files by their sizes; on reading, the bytes that
    are read by their checksums. Raises ShardError for damage, HeadError for a head that is not stored, FetchError for
    a remote file that cannot be fetched.
    """

    def __init__(
        self,
        folder: str | Path,
        head: str | None = "0.mean",
        *,
        damaged: Damaged = "error",
        cache: CacheOptions | None = None,
        storage_options: dict[str, Any] | None = None,  # Any: fsspec's own options
    ) -> None:
        known = get_args(Damaged)
        if damaged not in known:
            raise UsageError(f"damaged {damaged!r} is not known. Choose {' or '.join(known)}.")
        self._mirror = Mirror(str(folder), cache, storage_options) if is_remote(folder) else None
        # Absolute, because the program may change its folder, and a spawned process begins in another.
        self.folder = Path(folder).absolute() if self._mirror is None else self._mirror.folder
        self.manifest = Manifest.read(self.folder)
        self._choose(head)
        self._labels: NDArray[np.int64] | None = None  # in place of those in the shards
        self.skipped = 0  # samples that this process left out
        self._skips = damaged == "skip"
        self._told: set[str] = set()  # shards whose damage was warned of
        self.manifest.require_listed()
        self._readers = list(self._opened())
        self._ends = np.array(list(itertools.accumulate(map(len, self._readers))), np.int64)

    def with_head(self, head: str | None) -> "RelevanceDataset":
        """Return the same opened shards with the relevance of another head spec. Raises HeadError as opening does."""
        other = copy.copy(self)
        other._choose(head)
        return other

    def with_labels(self, class_ids: NDArray[np.int64]) -> "RelevanceDataset":
        """Return the same opened shards with other class ids, (samples,), in place of those that they hold."""
        assert class_ids.shape == (len(self),) and not self.manifest.class_weights
        other = copy.copy(self)
        other._labels = class_ids
        return other

    @property
    def relabelled(self) -> bool:
        """Whether the labels are others than the shards hold."""
        return self._labels is not None

    def _choose(self, head: str | None) -> None:
        manifest = self.manifest
        picked = Picked.of(head, manifest.heads, str(self.folder))
        self.head = picked.text
        self._wanted = Wanted(manifest.layout, picked.heads)
        self._decoder = Decoder(
            manifest.layout, picked, vocab_size=manifest.vocab_size, special_ids=manifest.special_ids
        )

    @property
    def label_names(self) -> tuple[str, ...] | None:
        """The names of the classes, in the order of their ids; None where no labels are stored."""
        return self.manifest.label_names

    @property
    def num_classes(self) -> int:
        """The number of classes. Raises ShardError where no labels are stored."""
        if self.label_names is None:
            raise ShardError(
                f"{self.folder}: holds no labels. Run 'amix precompute' again without --no-labels."
            )
        return len(self.label_names)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, number: int) -> dict[str, Any]:  # Any: arrays, a label and a key
        """Return sample `number` (corpus order) as a dict of unpadded arrays.

        input_ids: (T,) int64.
        relevance: (T,) float32, raw, special tokens kept; only with a head. (S, T) with several head specs.
        content: (T,) bool, tokens that are not special.  labels: int, or (C,) float32; absent in a cache without.
        token_type_ids: (T,) int64 where the corpus held pairs.  key: str, the corpus row's number.
        """
        if not -len(self) <= number < len(self):
            raise IndexError(f"sample {number} of {len(self)}")
        flat = self._read([number % len(self)], skips=False)
        sample: dict[str, Any] = {  # Any: as returned
            "key": flat.keys[0],
            "input_ids": flat.input_ids,
            "content": flat.content,
            "relevance": flat.relevance,
            "token_type_ids": flat.token_type_ids,
        }
        if flat.labels is not None:
            sample["labels"] = flat.labels[0] if self.manifest.class_weights else int(flat.labels[0])
        return {name: value for name, value in sample.items() if value is not None}

    def batch(self, numbers: Sequence[int] | NDArray[np.int64]) -> ArrayBatch:
        """Return the samples `numbers`, counted from 0, padded to the longest.

        This is several times as fast as reading one sample after the other.
        """
        return self._read(numbers, self._skips).padded(self.manifest.pad_id)

    def lengths(self) -> NDArray[np.int32]:
        """Return the number of tokens of every sample, (samples,) int32, from the indexes alone."""
        parts = [reader.index["tokens"] for reader in self._readers]
        return np.concatenate(parts) if parts else np.zeros(0, np.int32)

    def rows(self) -> NDArray[np.int64]:
        """Return the corpus row of every sample, (samples,) int64, ascending, from the indexes alone."""
        parts = [reader.index["row"].astype(np.int64) for reader in self._readers]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def class_ids(self) -> NDArray[np.int32]:
        """Return the class id of every sample, (samples,) int32, -1 where there is none, from the indexes alone."""
        if self._labels is not None:
            return self._labels.astype(np.int32)
        parts = [reader.index["label"] for reader in self._readers]
        return np.concatenate(parts) if parts else np.zeros(0, np.int32)

    def shard_numbers(self) -> NDArray[np.int64]:
        """Return the number of the shard that holds each sample, (samples,) int64."""
        return np.repeat(np.arange(len(self._readers)), [len(reader) for reader in self._readers])

    @contextlib.contextmanager
    def fetching(self, batches: Iterable[NDArray[np.int64]]) -> Iterator[Callable[[NDArray[np.int64]], None]]:
        """Fetch remote shards ahead of their use while the block reads `batches` of sample numbers in this order.

        Yields a function to call with each batch before it is read. It does nothing for local shards.
        """
        in_order = [] if self._mirror is None else self._in_order_of_use(batches)
        if self._mirror is None or all(self._readers[shard].is_open for shard in in_order):
            yield lambda numbers: None
            return
        largest = int(self.manifest.shards.tar_bytes.max(initial=1))
        # Shards that are fetched ahead must not push those in use out of the local store.
        depth = max(1, min(_DEPTH, self._mirror.limit // 2 // max(1, largest)))
        place = np.full(len(self._readers), -1)
        place[in_order] = np.arange(len(in_order))
        latest = -1
        with Ahead(in_order, lambda shard: self._readers[shard].fetch(), depth) as ahead:

            def reached(numbers: NDArray[np.int64]) -> None:
                nonlocal latest
                furthest = int(place[self._shards_of(numbers)].max(initial=-1))
                if furthest > latest:  # seldom: the thread is not disturbed with every batch
                    latest = furthest
                    ahead.reached([in_order[furthest]])

            yield reached

    @property
    def fits(self) -> bool:
        """Whether all shards of a remote cache fit into the local store at the same time; True for a local cache."""
        return self._mirror is None or self.manifest.tar_bytes <= self._mirror.limit

    def _in_order_of_use(self, batches: Iterable[NDArray[np.int64]]) -> list[int]:
        """Return the shards that `batches` read, each once; no more batches are drawn than it takes to meet all."""
        met: dict[int, None] = {}
        coming = iter(batches)
        while len(met) < len(self._readers) and (some := list(itertools.islice(coming, _AT_ONCE))):
            shards, first = np.unique(self._shards_of(np.concatenate(some)), return_index=True)
            met.update(dict.fromkeys(shards[np.argsort(first)].tolist()))
        return list(met)

    def _shards_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(self._ends, numbers, "right")

    def _opened(self) -> Iterator[ShardReader]:
        open_shards = OpenShards()
        for position, entry in enumerate(self.manifest.shards):
            try:
                record = self.manifest.record(position)
                if self._mirror is None:
                    record.require_files(self.folder)
                provide = None if self._mirror is None else self._mirror.provide
                reader = ShardReader(self.manifest, record, open_shards, provide)
                if self._skips:
                    reader.index  # noqa: B018  read now, because a shard without it is left out
            except ShardError as problem:
                if not self._skips:
                    raise
                self._skip(entry.name, entry.samples, problem)
                continue
            yield reader

    def _skip(self, shard: str, samples: int, problem: ShardError) -> None:
        self.skipped += samples
        if shard not in self._told:
            self._told.add(shard)
            _LOG.warning(f"{problem} Going on without what is damaged.")

    def _read(self, numbers: Sequence[int] | NDArray[np.int64], skips: bool) -> FlatBatch:
        wanted = np.asarray(numbers, np.int64)
        if wanted.size and not 0 <= wanted.min() <= wanted.max() < len(self):
            raise IndexError(f"samples {wanted.min()} to {wanted.max()} of {len(self)}")
        shards = self._shards_of(wanted)
        # Counted from the end of the shard, so that no second table is needed.
        places = wanted - self._ends[shards]
        stored, kept = [], []
        for number, shard, place in zip(wanted.tolist(), shards.tolist(), places.tolist(), strict=True):
            reader = self._readers[shard]
            try:
                stored.append(reader.read(place + len(reader), self._wanted))
                kept.append(number)
            except ShardError as problem:
                if not skips:
                    raise
                self._skip(reader.path.stem, 1, problem)
        flat = self._decoder.flat(stored)
        return flat if self._labels is None else dataclasses.replace(flat, labels=self._labels[kept])
