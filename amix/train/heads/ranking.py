"""The ranking of a cache's heads on disk, beside the cache, so that the next run finds it."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from amix.engine.base import canonical, publish
from amix.engine.base.errors import StorageError, TrainError
from amix.loaders.stores import is_remote
from amix.loaders.stream.dataset import RelevanceDataset
from amix.train.heads.proxy import RankedHead, rank_heads
from amix.train.options import auto


@dataclass(frozen=True, kw_only=True)
class RankingIdentity:
    """What a ranking depends on: hashes of the shards, the texts (None = all) and the embeddings, and the rule."""

    shards: str
    samples: str | None
    embeddings: str
    rule: str

    @classmethod
    def of(
        cls, dataset: RelevanceDataset, embeddings_VD: torch.Tensor, numbers: NDArray[np.int64] | None
    ) -> "RankingIdentity":
        """Return that of a ranking by these texts and embeddings."""
        return cls(
            shards=dataset.manifest.sha256,
            samples=None if numbers is None else publish.sha256_bytes(numbers.astype("<i8").tobytes()),
            embeddings=publish.sha256_bytes(embeddings_VD.detach().float().cpu().numpy().tobytes()),
            rule=auto.RULES["head", auto.AUTO],
        )

    @property
    def file_name(self) -> str:
        """The name of its ranking's file."""
        return f"{publish.sha256_bytes(canonical.dumps(asdict(self)))[:16]}.json"


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """A ranking as it is kept: the heads, the best first."""

    identity: RankingIdentity
    heads: Sequence[RankedHead]

    def write(self, path: Path) -> None:
        """Publish the ranking. A place that cannot be written to does not stop the run: it is computed again."""
        try:
            path.parent.mkdir(exist_ok=True)
            publish.write_atomic(path, canonical.seal(asdict(self)))
        except (OSError, StorageError):
            return

    @classmethod
    def read(cls, path: Path) -> "Ranking":
        """Read what `write` wrote. Raises TrainError for a file that is damaged or of another version."""
        document: Mapping[str, Any] = canonical.unseal(path.read_bytes(), str(path), TrainError)  # JSON
        try:
            return cls(
                identity=RankingIdentity(**document["identity"]),
                heads=[RankedHead(**each) for each in document["heads"]],
            )
        except (KeyError, TypeError):
            raise TrainError(f"{path}: was written by another version of amix. Remove it.") from None


def best_head(
    folder: str | Path,
    dataset: RelevanceDataset,
    embeddings_VD: torch.Tensor,
    numbers: NDArray[np.int64] | None,
) -> RankedHead:
    """Return the best head for these texts, from the ranking beside the cache where one was computed before.

    folder: where the shards are, as it was given.  dataset: opened from it.  numbers: the texts, None = all.
    The ranking is kept in `FOLDER.ranking/` unless the folder is remote, its place cannot be written to, or the data
    set has other labels than the shards.
    """
    identity = RankingIdentity.of(dataset, embeddings_VD, numbers)
    path = None
    if not is_remote(folder) and not dataset.relabelled:
        path = Path(f"{str(folder).rstrip('/')}.ranking") / identity.file_name
    if path is not None and path.is_file():
        with contextlib.suppress(TrainError):  # one that cannot be read is computed again
            kept = Ranking.read(path)
            if kept.identity == identity:
                return kept.heads[0]

    ranking = rank_heads(dataset, embeddings_VD, numbers)
    if path is not None:
        Ranking(identity=identity, heads=ranking).write(path)
    return ranking[0]
