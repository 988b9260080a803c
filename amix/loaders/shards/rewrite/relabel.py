"""A cache with other labels: the same texts and relevance, with class weights in place of what labels there were.

Axes: N texts of a shard, C classes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amix.engine.base.errors import UsageError
from amix.loaders.shards.manifest import Manifest
from amix.loaders.shards.openfiles import OpenShards
from amix.loaders.shards.output import destination
from amix.loaders.shards.recipe import Recipe
from amix.loaders.shards.records import ShardFacts, ShardRecord
from amix.loaders.shards.rewrite.sources import source_shards
from amix.loaders.shards.rewrite.units import write_cache
from amix.loaders.shards.writer import Sample, ShardWriter


@dataclass(frozen=True, kw_only=True)
class NewLabels:
    """Labels for the texts of a cache.

    names: of the classes.  soft: the weights of a text are probabilities of one class; if not, yes or no for each.
    origin: JSON that decides the weights, beside the texts.
    weights: from a range of corpus rows to the weights of their samples, (N, C) float32 in [0, 1].
    """

    names: Sequence[str]
    soft: bool
    origin: object
    weights: Callable[[range], NDArray[np.float32]]


def relabel(
    source: Path,
    out: Path | str,
    labels: NewLabels,
    *,
    restart: bool = False,
    on_start: Callable[[int, int], None] = lambda done, units: None,
    on_unit: Callable[[ShardRecord], None] = lambda record: None,
) -> Manifest:
    """Write the samples of `source` with new labels to `out`, shard by shard as they are, and return its manifest.

    Every byte that is read is compared with its checksum. A run that was stopped goes on where it was.
    out, restart, on_start, on_unit: as in `repack`.
    Raises ShardError for damage, UsageError where `out` is the source.
    """
    manifest = Manifest.read(source)
    place = destination(out)
    if place.path is not None and place.path.absolute() == source.absolute():
        raise UsageError(f"{place}: is the source. Name another folder.")
    # What the source has of labels is not read.
    bare = replace(manifest.layout, classes=0, cls=False)
    recipe = Recipe.of(
        heads=manifest.heads,
        layout=replace(bare, classes=len(labels.names)),
        max_length=manifest.max_length,
        label_names=labels.names,
        samples_per_shard=max((1, *(entry.row_count for entry in manifest.shards))),
        extractor=manifest.recipe.extractor,
        soft_labels=labels.soft,
        relabelled=manifest.sha256,
        labelled_by=labels.origin,
    )
    shards = list(source_shards([manifest], manifest.label_names, OpenShards()))

    def write(unit: int) -> ShardRecord:
        shard = shards[unit]
        rows = range(*shard.row_range)
        places = shard.places(rows)
        facts = ShardFacts(row_range=shard.row_range, rejects=shard.rejects, recipe=recipe)
        relevance = shard.relevance(places, range(len(manifest.heads)))
        samples = list(_relabelled(shard.samples(places, bare), labels.weights(rows)))
        return ShardWriter(place, unit, recipe.layout).publish(samples, enumerate(relevance), facts)

    return write_cache(
        place,
        recipe,
        len(shards),
        write,
        like=manifest,
        truncated=manifest.truncated,
        restart=restart,
        on_start=on_start,
        on_unit=on_unit,
    )


def _relabelled(samples: Iterator[Sample], weights_NC: NDArray[np.float32]) -> Iterator[Sample]:
    for sample, weights_C in zip(samples, weights_NC, strict=True):
        yield replace(sample, label=-1, labels=tuple(weights_C.tolist()))
