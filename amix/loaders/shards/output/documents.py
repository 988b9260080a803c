"""What the documents at a destination say, wherever it is."""

import json
from pathlib import Path

from amix.engine.base.errors import ShardError
from amix.loaders.shards.manifest import MANIFEST, REJECTS, Manifest
from amix.loaders.shards.output.destination import Destination
from amix.loaders.shards.records import Reject


def read_manifest(place: Destination) -> Manifest:
    """Return the manifest of the cache there. Raises ShardError where there is none, or a damaged one."""
    return Manifest.parse(place.read(MANIFEST), place.named(MANIFEST), place.path or Path())


def read_rejects(place: Destination) -> list[Reject]:
    """Return the rows that have no sample, of a cache that has some. Raises ShardError for a damaged file."""
    try:
        rows = map(json.loads, place.read(REJECTS).splitlines())
        return [Reject(int(row["row"]), str(row["reason"])) for row in rows]
    except (ValueError, TypeError, KeyError) as problem:
        raise ShardError(f"{place.named(REJECTS)}: is damaged ({problem}).") from None
