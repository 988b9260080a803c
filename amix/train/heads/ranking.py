"""The ranking of a cache's heads on disk, beside the cache, so that the next run finds it."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from amix.engine.base import canonical, publish
from amix.engine.base.errors import StorageError, TrainError
from amix.loaders.shards.manifest import Manifest
from amix.loaders.shards.remote import is_remote
from amix.train.heads.proxy import RankedHead, rank_heads
from amix.train.options.config import AUTO_RULES


def best_head(
    folder: str | Path, manifest: Manifest, embeddings_VD: torch.Tensor, numbers: NDArray[np.int64] | None
) -> RankedHead:
    """Return the first of the ranking for these samples, from beside the cache where it was computed before."""
    return stored_ranking(folder, manifest, embeddings_VD, numbers)[0]


def stored_ranking(
    folder: str | Path, manifest: Manifest, embeddings_VD: torch.Tensor, numbers: NDArray[np.int64] | None
) -> list[RankedHead]:
    """Return `rank_heads`, computed at the first call and kept in `FOLDER.ranking/` where that can be written to."""
    identity = {
        "shards": manifest.sha256,
        "samples": None if numbers is None else publish.sha256_bytes(numbers.astype("<i8").tobytes()),
        "embeddings": publish.sha256_bytes(embeddings_VD.detach().float().cpu().numpy().tobytes()),
        "rule": AUTO_RULES["head"],
    }
    path = None
    if not is_remote(folder):
        key = publish.sha256_bytes(canonical.dumps(identity))[:16]
        path = Path(f"{str(folder).rstrip('/')}.ranking") / f"{key}.json"
    if path is not None and path.is_file():
        document = canonical.unseal(path.read_bytes(), str(path), TrainError)
        if document["identity"] == identity:
            return [RankedHead(**each) for each in document["heads"]]
    ranking = rank_heads(folder, embeddings_VD, numbers)
    if path is not None:
        write_ranking(path, ranking, identity)
    return ranking


def write_ranking(path: Path, ranking: Sequence[RankedHead], identity: dict[str, Any]) -> None:
    """Publish a ranking; a place that cannot be written to is no reason to stop."""
    try:
        path.parent.mkdir(exist_ok=True)
        document = {"identity": identity, "heads": [asdict(each) for each in ranking]}
        publish.write_atomic(path, canonical.seal(document))
    except (OSError, StorageError):
        return
