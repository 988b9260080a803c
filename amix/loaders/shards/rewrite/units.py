"""A cache made from other caches, shard by shard: what `repack` and `relabel` have in common."""

from collections.abc import Callable
from pathlib import Path

from amix.engine.base.stopping import signals_end
from amix.loaders.shards.finish import publish_manifest
from amix.loaders.shards.manifest import Manifest
from amix.loaders.shards.output import Destination, destination
from amix.loaders.shards.recipe import Recipe
from amix.loaders.shards.records import ShardRecord
from amix.loaders.shards.tokenizer import TokenizerFile
from amix.loaders.shards.workspace import Workspace, shards_are_kept


def write_cache(
    out: Path | Destination,
    recipe: Recipe,
    units: int,
    write: Callable[[int], ShardRecord],
    *,
    like: Manifest,
    truncated: int,
    restart: bool,
    on_start: Callable[[int, int], None],
    on_unit: Callable[[ShardRecord], None],
) -> Manifest:
    """Write the units that are missing in `out`, then what makes it a cache, and return its manifest.

    write: publishes one unit.  like: a source, whose tokenizer and kind of relevance the cache has.
    truncated: texts that were cut.  restart: remove what an earlier run wrote.
    on_start: called with the number of finished units and of all units.  on_unit: called with each record.
    Raises ShardError where `out` was begun with another recipe.
    """
    place = destination(out)
    with signals_end(shards_are_kept(place, restart)), Workspace(place) as workspace:
        if restart:
            workspace.clear()
        finished = workspace.finished(recipe)
        if finished is not None:
            return finished
        done = workspace.records(recipe)
        workspace.prepare()
        on_start(len(done), units)
        for unit in range(units):
            if unit not in done:
                on_unit(write(unit))
        return publish_manifest(
            place,
            workspace.final_records(recipe, set(range(units))),
            recipe,
            relevance=like.relevance,
            tokenizer=TokenizerFile.of_cache(like.folder, like.tokenizer),
            truncated=truncated,
        )
