"""Shards as studies open them: the manifest alone, or every head by itself."""

from pathlib import Path

from amix.engine.base.errors import AmixError
from amix.loaders.shards.manifest import Manifest
from amix.loaders.shards.remote import Mirror
from amix.loaders.stores import is_remote
from amix.loaders.stream.dataset import RelevanceDataset


def read_manifest(folder: str | Path) -> Manifest:
    """Return the manifest of shards at a path or a URL; no shard is opened. Raises ShardError or FetchError."""
    return Mirror(str(folder)).manifest if is_remote(folder) else Manifest.read(Path(folder))


def have_class_weights(folder: str | Path) -> bool:
    """Return whether labels of shards weigh all classes; False where that cannot be read, which is told on opening."""
    try:
        return read_manifest(folder).class_weights
    except AmixError:
        return False


def open_every_head(folder: str | Path) -> RelevanceDataset:
    """Return the shards at a path or a URL; `relevance` has a row for every stored head, in the manifest's order.

    With a single head stored it has no axis of heads. Raises as `RelevanceDataset` does.
    """
    heads = read_manifest(folder).heads
    return RelevanceDataset(folder, head="|".join(f"{layer}.{head}" for layer, head in heads))
