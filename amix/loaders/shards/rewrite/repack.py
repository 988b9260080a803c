"""Caches in, one cache out: fewer heads, another code, other shard sizes, several folders as one. Nothing is computed.

Rows are numbered consecutively: a row of OUT is its row in its source plus all rows of the sources before it.

Axes: H heads, T tokens.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from amix.engine.base.errors import ShardError, UsageError
from amix.engine.base.heads import select_heads
from amix.loaders.shards.choices import RelevanceDtype
from amix.loaders.shards.layout import Layout
from amix.loaders.shards.manifest import Manifest
from amix.loaders.shards.openfiles import OpenShards
from amix.loaders.shards.output import Destination, destination
from amix.loaders.shards.recipe import Recipe
from amix.loaders.shards.records import ShardFacts, ShardRecord
from amix.loaders.shards.rewrite.sources import SourceShard, source_shards
from amix.loaders.shards.rewrite.units import write_cache
from amix.loaders.shards.workspace import require_place
from amix.loaders.shards.writer import ShardWriter


@dataclass(frozen=True, kw_only=True)
class RepackOptions:
    """What to change; None = as in the first source.

    heads: which of the stored heads to keep: `all`, layers (`0,1`), heads (`0.8,1.3`).
    samples_per_shard: corpus rows of a shard.  no_text: leave stored texts out.
    restart: remove what an earlier run wrote.
    """

    heads: str = "all"
    dtype: RelevanceDtype | None = None
    samples_per_shard: int | None = None
    no_text: bool = False
    restart: bool = False


def repack(
    sources: Sequence[Path],
    out: Path | str,
    options: RepackOptions | None = None,
    *,
    on_start: Callable[[int, int], None] = lambda done, units: None,
    on_unit: Callable[[ShardRecord], None] = lambda record: None,
) -> Manifest:
    """Write the samples of `sources`, one after the other, to `out` and return its manifest.

    Every byte that is read is compared with its checksum. A run that was stopped goes on where it was, as in
    precompute; the bytes are a function of the sources and the options.
    out: a folder, or a URL that fsspec can write to.
    on_start: called with the number of finished units and of all units.  on_unit: called with each record.
    Raises ShardError for damage, and for sources that do not fit together: other tokenizers, extractors, classes, kinds
    of labels; HeadError for a head that is not stored; UsageError for options out of range.
    """
    options = options or RepackOptions()
    if not sources:
        raise UsageError("repack needs at least one cache to read.")
    place = destination(out)
    require_place(place)
    manifests = [Manifest.read(folder) for folder in sources]
    first = manifests[0]
    size = options.samples_per_shard
    if size is None:
        size = max((1, *(entry.row_count for entry in first.shards)))
    if size < 1:
        raise UsageError(f"--samples-per-shard {size}: a shard has at least one row.")
    if place.path is not None and place.path.absolute() in {folder.absolute() for folder in sources}:
        raise UsageError(f"{place}: is one of the sources. Name another folder.")
    for manifest in manifests[1:]:
        _require_alike(first, manifest)
        _require_classes(first, manifest)
    label_names = first.label_names
    heads = select_heads(options.heads, first.heads, str(first.folder))
    recipe = Recipe.of(
        heads=[first.heads[index] for index in heads],
        layout=_layout(manifests, len(heads), len(label_names or ()), options),
        max_length=max(manifest.max_length for manifest in manifests),
        label_names=label_names,
        samples_per_shard=size,
        extractor=first.recipe.extractor,
        soft_labels=first.recipe.soft_labels,
        repacked=[manifest.sha256 for manifest in manifests],
    )
    shards = list(source_shards(manifests, label_names, OpenShards()))
    row_count = shards[-1].row_range[1] if shards else 0
    units = math.ceil(row_count / size)

    def write(unit: int) -> ShardRecord:
        rows = range(unit * size, min(row_count, (unit + 1) * size))
        return _write(place, unit, rows, shards, heads, recipe)

    return write_cache(
        place,
        recipe,
        units,
        write,
        like=first,
        truncated=sum(manifest.truncated for manifest in manifests),
        restart=options.restart,
        on_start=on_start,
        on_unit=on_unit,
    )


def _write(
    place: Destination,
    unit: int,
    rows: range,
    shards: Sequence[SourceShard],
    heads: Sequence[int],
    recipe: Recipe,
) -> ShardRecord:
    """Publish the shard of OUT that holds `rows`."""
    taken = [(shard, shard.places(rows)) for shard in shards if shard.meets(rows)]
    layout = recipe.layout
    samples = [sample for shard, places in taken for sample in shard.samples(places, layout)]
    relevance = (values for shard, places in taken for values in shard.relevance(places, heads))
    facts = ShardFacts(
        row_range=(rows.start, rows.stop),
        rejects=tuple(reject for shard, _ in taken for reject in shard.rejects if reject.row in rows),
        recipe=recipe,
    )
    return ShardWriter(place, unit, layout).publish(samples, enumerate(relevance), facts)


def _require_alike(first: Manifest, other: Manifest) -> None:
    for what, one, two in (
        ("tokenizer", first.tokenizer.fingerprint[:12], other.tokenizer.fingerprint[:12]),
        ("extractor", first.recipe.extractor_fingerprint, other.recipe.extractor_fingerprint),
        ("kind of relevance", first.relevance, other.relevance),
        ("set of heads", _shown(first), _shown(other)),
        ("kind of labels", _kind_of_labels(first), _kind_of_labels(other)),
        ("second texts", first.layout.token_types, other.layout.token_types),
    ):
        if one != two:
            raise ShardError(
                f"{other.folder}: has another {what} than {first.folder} ({_short(two)}, there {_short(one)}). "
                "Make both with the same extractor and options."
            )


def _shown(manifest: Manifest) -> str:
    return ", ".join(f"{layer}.{head}" for layer, head in manifest.heads)


def _kind_of_labels(manifest: Manifest) -> str:
    if manifest.label_names is None:
        return "none"
    if manifest.recipe.soft_labels:
        return "probabilities of classes"
    return "class weights" if manifest.multi_label else "class ids"


def _require_classes(first: Manifest, other: Manifest) -> None:
    """Raise ShardError unless both have the same classes, in whatever order."""
    one, two = first.label_names or (), other.label_names or ()
    if set(one) != set(two):
        strange = [name for name in two if name not in one]
        lacking = [name for name in one if name not in two]
        differences = " and ".join(
            f"{verb} {_short(', '.join(map(repr, names)))}"
            for verb, names in (("has", strange), ("lacks", lacking))
            if names
        )
        raise ShardError(
            f"{other.folder}: has other classes than {first.folder}: it {differences}. Precompute it again with "
            f"--labels-from {first.folder}, or both with --labels and the names of all classes."
        )


def _layout(manifests: Sequence[Manifest], heads: int, classes: int, options: RepackOptions) -> Layout:
    first = manifests[0].layout
    lacking = [manifest.folder for manifest in manifests if not manifest.layout.text]
    if lacking and len(lacking) < len(manifests) and not options.no_text:
        raise UsageError(f"{lacking[0]}: holds no texts, another source does. Leave them out with --no-text.")
    return replace(
        first,
        heads=heads,
        dtype=options.dtype or first.dtype,
        wide_ids=any(manifest.layout.wide_ids for manifest in manifests),
        classes=classes if first.classes else 0,
        text=not lacking and not options.no_text,
    )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
