"""The samples of a shard folder by number, each with the relevance of one head spec or of several.

Axes: B batch, S head specs, H heads, N tokens of all samples, T tokens.
"""

import contextlib
import copy
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from amix.engine.base.errors import ShardError, UsageError
from amix.engine.base.heads import HeadSpec
from amix.loaders.shards.codes import decode
from amix.loaders.shards.manifest import Manifest, check_files
from amix.loaders.shards.openfiles import OpenShards
from amix.loaders.shards.reader import ShardReader, StoredSample
from amix.loaders.shards.remote import Ahead, CacheOptions, Mirror, is_remote
from amix.loaders.shards.writer import sample_key
from amix.loaders.stream.flat import ArrayBatch, FlatBatch

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    Samples = Dataset[dict[str, Any]]
else:
    Samples = object  # torch asks for the methods alone, and reading shards needs no torch

_DEPTH = 4  # shards fetched ahead
_LOG = logging.getLogger(__name__)


class RelevanceDataset(Samples):
    """Map-style access to a shard folder that `amix precompute` wrote; works as a torch dataset.

    folder: the shards: a path, or a URL (`s3://`, `gs://`, `hf://`, `https://`) whose shards are fetched as they are
        needed and kept as `cache` says. `storage_options` go to fsspec.
    head: a head spec (`0.8`, `0.mean`, `mean`, `0.8,1.3`), or several with `|` between them (`0.8|1.mean`), of which
        a mixer draws one per batch; None reads no relevance.
    damaged: what to do about damage. `error` = raise ShardError; `skip` = go on without the shards that are found
        damaged on opening and without the samples that are found damaged on reading, warn once for each shard, and
        count both in `skipped`.
    On opening, manifest and records are checked by their hashes and files by their sizes; on reading, the
    checksum of exactly the bytes read. Raises ShardError for damage, HeadError for a head that is not stored,
    FetchError for a remote file that cannot be had.
    """

    def __init__(
        self,
        folder: str | Path,
        head: str | None = "0.mean",
        *,
        damaged: Literal["error", "skip"] = "error",
        cache: CacheOptions | None = None,
        storage_options: dict[str, Any] | None = None,
    ) -> None:
        if damaged not in ("error", "skip"):
            raise UsageError(f"damaged {damaged!r} is not known. Choose error or skip.")
        self._mirror = Mirror(str(folder), cache, storage_options) if is_remote(folder) else None
        self.folder = Path(folder) if self._mirror is None else self._mirror.folder
        self.manifest = Manifest.read(self.folder)
        self._choose(head)
        self.skipped = 0  # samples that this process left out
        self._skips = damaged == "skip"
        self._told: set[str] = set()  # shards whose damage was warned of
        self.manifest.require_listed()
        self._readers = list(self._opened())
        self._ends = np.array(list(itertools.accumulate(map(len, self._readers))), np.int64)
        self._is_content = np.ones(self.manifest.vocab_size, np.bool_)
        self._is_content[list(self.manifest.special_ids)] = False

    def with_head(self, head: str | None) -> "RelevanceDataset":
        """Return the same opened shards with the relevance of another head spec. Raises HeadError as opening does."""
        other = copy.copy(self)
        other._choose(head)
        return other

    def _choose(self, head: str | None) -> None:
        specs = () if head is None else HeadSpec.parse_several(head)
        self.head = None if head is None else "|".join(map(str, specs))
        picked = [spec.indices(self.manifest.heads, str(self.folder)) for spec in specs]
        self._heads = sorted({position for spec in picked for position in spec})  # each is read once
        self._rows = [[self._heads.index(position) for position in spec] for spec in picked]

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Return sample `number` (corpus order) as a dict of unpadded arrays.

        input_ids: (T,) int64.
        relevance: (T,) float32, raw, special tokens kept; only with a head. (S, T) with several head specs.
        content: (T,) bool, tokens that are not special.  labels: int, or (C,) float32; absent in a cache without.
        token_type_ids: (T,) int64 where the corpus held pairs.  key: str, the corpus row's number.
        """
        if not -len(self) <= number < len(self):
            raise IndexError(f"sample {number} of {len(self)}")
        flat = self._read([number % len(self)], skips=False)
        sample: dict[str, Any] = {"key": flat.keys[0], **flat.tokens}
        if flat.labels is not None:
            sample["labels"] = flat.labels[0] if self.manifest.multi_label else int(flat.labels[0])
        return sample

    def batch(self, numbers: Sequence[int] | NDArray[np.int64]) -> ArrayBatch:
        """Return the samples `numbers`, counted from 0, padded to the longest: numpy arrays as `Collate` describes.

        It is several times as fast as one sample after the other.
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
        parts = [reader.index["label"] for reader in self._readers]
        return np.concatenate(parts) if parts else np.zeros(0, np.int32)

    def shard_numbers(self) -> NDArray[np.int64]:
        """Return the place in the manifest of the shard that holds each sample, (samples,) int64."""
        return np.repeat(np.arange(len(self._readers)), [len(reader) for reader in self._readers])

    @contextlib.contextmanager
    def fetching(self, batches: Iterable[NDArray[np.int64]]) -> Iterator[Callable[[NDArray[np.int64]], None]]:
        """Fetch remote shards ahead of their use while the block reads `batches` of sample numbers in this order.

        Yields what is to be called with each batch before it is read. With local shards nothing happens.
        """
        if self._mirror is None:
            yield lambda numbers: None
            return
        shards, first = np.unique(
            self._shards_of(np.concatenate([np.zeros(0, np.int64), *batches])), return_index=True
        )
        largest = max((entry["bytes"] for entry in self.manifest.shards), default=1)
        # Shards that are fetched must not push those out that are in use.
        depth = max(1, min(_DEPTH, self._mirror.limit // 2 // max(1, largest)))
        in_order = shards[np.argsort(first)].tolist()
        with Ahead(in_order, lambda shard: self._readers[shard].fetch(), depth) as ahead:
            yield lambda numbers: ahead.reached(np.unique(self._shards_of(numbers)).tolist())

    @property
    def fits(self) -> bool:
        """Whether all shards can be here at the same time."""
        return self._mirror is None or self.manifest.fields["bytes"] <= self._mirror.limit

    def _shards_of(self, numbers: NDArray[Any]) -> NDArray[np.int64]:
        return np.searchsorted(self._ends, numbers, "right")

    def _opened(self) -> Iterator[ShardReader]:
        open_shards = OpenShards()
        for position, entry in enumerate(self.manifest.shards):
            try:
                record = self.manifest.record(position)
                if self._mirror is None:
                    check_files(self.folder, record)
                provide = None if self._mirror is None else self._mirror.provide
                reader = ShardReader(self.manifest, record, open_shards, provide)
                if self._skips:
                    reader.index  # noqa: B018  read now, since a shard without it is left out
            except ShardError as problem:
                if not self._skips:
                    raise
                self._skip(entry["name"], entry["samples"], problem)
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
        # Counted from the end of the shard, which says the same and needs no second table.
        places = wanted - self._ends[shards]
        stored = []
        for shard, place in zip(shards.tolist(), places.tolist(), strict=True):
            reader = self._readers[shard]
            try:
                stored.append(reader.read(place + len(reader), self._heads))
            except ShardError as problem:
                if not skips:
                    raise
                self._skip(reader.path.stem, 1, problem)
        return self._decoded(stored)

    def _decoded(self, stored: list[StoredSample]) -> FlatBatch:
        """Lay samples end to end. Raises ShardError naming the sample for values that none may have."""
        layout = self.manifest.layout
        lengths = np.array([sample.tokens for sample in stored], np.int64)

        ids_N = np.frombuffer(b"".join([sample.ids for sample in stored]), layout.ids_dtype).astype(np.int64)
        vocabulary = len(self._is_content)
        if ids_N.max(initial=0) >= vocabulary:
            what = f"a token id beyond the vocabulary of {vocabulary}"
            raise _nonsense(stored, lengths, int(np.argmax(ids_N >= vocabulary)), what)
        tokens: dict[str, NDArray[Any]] = {"input_ids": ids_N, "content": self._is_content[ids_N]}
        if self._heads:
            relevance_HN = self._relevance(stored, lengths)
            # The least and the largest of numbers among which there is a NaN are NaN, and compare as neither.
            if relevance_HN.size and not (relevance_HN.min() >= 0 and relevance_HN.max() < np.inf):
                is_fine_N = ((relevance_HN >= 0) & (relevance_HN < np.inf)).all(axis=0)
                what = "relevance that is NaN, infinite or negative"
                raise _nonsense(stored, lengths, int(np.argmin(is_fine_N)), what)
            means = [relevance_HN[rows].mean(axis=0) for rows in self._rows]
            tokens["relevance"] = means[0] if len(means) == 1 else np.stack(means)
        if layout.token_types:
            types = b"".join([sample.others["token_type_ids"] for sample in stored])
            tokens["token_type_ids"] = np.frombuffer(types, np.uint8).astype(np.int64)

        labels: NDArray[Any] | None = None
        if layout.classes:
            weights = b"".join([sample.others["labels"] for sample in stored])
            labels = np.frombuffer(weights, "<f4").astype(np.float32).reshape(-1, layout.classes)
        elif self.manifest.label_names is not None:
            labels = np.array([sample.label for sample in stored], np.int64)
        return FlatBatch([sample_key(sample.row) for sample in stored], lengths, tokens, labels)

    def _relevance(self, stored: list[StoredSample], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        layout = self.manifest.layout
        rows = b"".join([sample.relevance[head] for head in range(len(self._heads)) for sample in stored])
        scale_HN = None
        if "scale" in layout.arrays:
            scales = np.frombuffer(b"".join([sample.others["scale"] for sample in stored]), "<f4")
            scale_HB = scales.reshape(len(stored), layout.heads).T[self._heads]
            scale_HN = np.repeat(scale_HB, lengths, axis=1)
        return decode(np.frombuffer(rows, layout.relevance_dtype).reshape(len(self._heads), -1), scale_HN)


def _nonsense(stored: list[StoredSample], lengths: NDArray[np.int64], token: int, what: str) -> ShardError:
    """Return the error about the sample that holds a token of all samples end to end."""
    bad = stored[int(np.searchsorted(np.cumsum(lengths), token, "right"))]
    return ShardError(
        f"{bad.tar}: sample {sample_key(bad.row)}: holds {what}, which 'amix precompute' never writes. Do not use it."
    )
