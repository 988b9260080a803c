"""The samples of a shard folder by number, each with the relevance of one head spec or of several.

Axes: S head specs, T tokens.
"""

import bisect
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from amix.engine.heads import HeadSpec
from amix.loaders.manifest import Manifest, check_files
from amix.loaders.shardreader import ShardReader
from amix.loaders.shardwriter import sample_key


class RelevanceDataset:
    """Map-style access to a shard folder that `amix precompute` wrote; works as a torch dataset.

    folder: the shards.
    head: a head spec (`0.8`, `0.mean`, `mean`, `0.8,1.3`), or several with `|` between them (`0.8|1.mean`), of which
        a mixer draws one per batch; None reads no relevance.
    On opening, manifest and records are checked by their hashes and files by their sizes; on reading, the
    checksum of exactly the bytes read. Raises ShardError for damage, HeadError for a head that is not stored.
    """

    def __init__(self, folder: str | Path, head: str | None = "0.mean") -> None:
        self.folder = Path(folder)
        self.manifest = Manifest.read(self.folder)
        specs = () if head is None else HeadSpec.parse_several(head)
        self.head = None if head is None else "|".join(map(str, specs))
        picked = [spec.indices(self.manifest.heads, str(self.folder)) for spec in specs]
        self._heads = sorted({position for spec in picked for position in spec})  # each is read once
        self._rows = [[self._heads.index(position) for position in spec] for spec in picked]
        self._readers: list[ShardReader] = []
        self.manifest.require_listed()
        for position in range(len(self.manifest.shards)):
            record = self.manifest.record(position)
            check_files(self.folder, record)
            self._readers.append(ShardReader(self.folder, record, self.manifest.layout))
        self._ends = list(itertools.accumulate(len(reader) for reader in self._readers))
        self._special = np.array(self.manifest.special_ids, np.int64)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Return sample `number` (corpus order) as a dict of unpadded arrays.

        input_ids: (T,) int64.
        relevance: (T,) float32, raw, special tokens kept; only with a head. (S, T) with several head specs.
        content: (T,) bool, tokens that are not special.  labels: int, or (C,) float32; absent in a cache without.
        token_type_ids: (T,) int64 where the corpus held pairs.  key: str, the corpus row's number.
        """
        if not -len(self) <= number < len(self):
            raise IndexError(f"sample {number} of {len(self)}")
        number %= len(self)
        shard = bisect.bisect_right(self._ends, number)
        reader = self._readers[shard]
        stored = reader.read(number - (self._ends[shard] - len(reader)), self._heads)
        ids_T = stored.ids.astype(np.int64)
        sample: dict[str, Any] = {
            "key": sample_key(stored.row),
            "input_ids": ids_T,
            "content": ~np.isin(ids_T, self._special),
        }
        if stored.relevance is not None:
            means = [stored.relevance[rows].mean(axis=0) for rows in self._rows]
            sample["relevance"] = means[0] if len(means) == 1 else np.stack(means)
        if stored.labels is not None:
            sample["labels"] = stored.labels
        elif self.manifest.label_names is not None:
            sample["labels"] = stored.label
        if stored.token_type_ids is not None:
            sample["token_type_ids"] = stored.token_type_ids.astype(np.int64)
        return sample

    def lengths(self) -> np.ndarray[Any, np.dtype[np.int32]]:
        """Return the number of tokens of every sample, (samples,) int32, from the indexes alone."""
        parts = [reader.index["tokens"] for reader in self._readers]
        return np.concatenate(parts) if parts else np.zeros(0, np.int32)

    def rows(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the corpus row of every sample, (samples,) int64, ascending, from the indexes alone."""
        parts = [reader.index["row"].astype(np.int64) for reader in self._readers]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def class_ids(self) -> np.ndarray[Any, np.dtype[np.int32]]:
        """Return the class id of every sample, (samples,) int32, -1 where there is none, from the indexes alone."""
        parts = [reader.index["label"] for reader in self._readers]
        return np.concatenate(parts) if parts else np.zeros(0, np.int32)
