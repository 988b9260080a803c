"""Caches in, one cache out: fewer heads, another code, other shard sizes, several folders as one. Nothing is computed.

Rows are counted through: a row of OUT is its row in its source plus all rows of the sources before it.

Axes: H heads, T tokens.
"""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from amix.engine.base.errors import ShardError, UsageError
from amix.engine.base.heads import select_heads
from amix.engine.base.publish import sha256_file
from amix.engine.base.stopping import signals_end
from amix.loaders.shards.codes import decode
from amix.loaders.shards.finish import Origin, publish_manifest
from amix.loaders.shards.layout import Layout
from amix.loaders.shards.manifest import VERSION, Manifest, check_files
from amix.loaders.shards.openfiles import OpenShards, mapped
from amix.loaders.shards.reader import ShardReader
from amix.loaders.shards.tar import members_of
from amix.loaders.shards.workspace import Workspace, shards_are_kept
from amix.loaders.shards.writer import Sample, ShardWriter, sample_key


@dataclass(frozen=True, kw_only=True)
class RepackOptions:
    """What to change; None = as in the first source.

    heads: `all`, layers (`0,1`) or heads (`0.8,1.3`) of those that are stored.  samples_per_shard: rows of a shard.
    no_text: leave stored texts out.  restart: remove what an earlier run wrote.
    """

    heads: str = "all"
    dtype: Literal["float16", "uint8", "float32"] | None = None
    samples_per_shard: int | None = None
    no_text: bool = False
    restart: bool = False


def repack(
    sources: Sequence[Path],
    out: Path,
    options: RepackOptions | None = None,
    *,
    on_start: Callable[[int, int], None] = lambda done, units: None,
    on_unit: Callable[[dict[str, Any]], None] = lambda record: None,
) -> Manifest:
    """Write the samples of `sources`, one after the other, to `out` and return its manifest.

    Every byte that is read is compared with its checksum. A run that was stopped goes on where it was, as precompute
    does; the bytes are a function of the sources and the options.
    on_start: called with the units that are done and all there are.  on_unit: called with each record.
    Raises ShardError for damage, and for sources that do not fit together: other tokenizers, extractors, kinds of
    labels; HeadError for a head that is not stored; UsageError for options out of range.
    """
    options = options or RepackOptions()
    if not sources:
        raise UsageError("repack needs at least one shard folder to read.")
    manifests = [Manifest.read(folder) for folder in sources]
    size = options.samples_per_shard or max(1, _rows_per_shard(manifests[0]))
    if size < 1:
        raise UsageError(f"--samples-per-shard {size}: a shard has at least one row.")
    if out.absolute() in {folder.absolute() for folder in sources}:
        raise UsageError(f"{out}: is one of the sources. Name another folder.")
    for manifest in manifests[1:]:
        _require_alike(manifests[0], manifest)
    names = _union(manifests)
    heads = select_heads(options.heads, manifests[0].heads, str(manifests[0].folder))
    layout = _layout(manifests, len(heads), names, options)
    plan = {
        "format": VERSION,
        "repacked": [manifest.sha256 for manifest in manifests],
        "labels": names,
        "extractor": manifests[0].fields["plan"].get("extractor"),
        "heads": [list(manifests[0].heads[index]) for index in heads],
        "layout": asdict(layout),
        "max_length": max(manifest.max_length for manifest in manifests),
        "samples_per_shard": size,
    }
    shards = list(_shards(manifests, names, OpenShards()))
    rows = shards[-1].end if shards else 0
    units = math.ceil(rows / size)

    with signals_end(shards_are_kept(out, options.restart)), Workspace(out) as workspace:
        if options.restart:
            workspace.clear()
        finished = workspace.resume(plan)
        if finished is not None:
            return finished
        on_start(len(workspace.records), units)
        for unit in range(units):
            if unit not in workspace.records:
                on_unit(
                    _write(
                        out,
                        unit,
                        shards,
                        range(unit * size, min(rows, (unit + 1) * size)),
                        layout,
                        heads,
                        plan,
                    )
                )
        records = workspace.read_records(plan, set(range(units)))
        truncated = sum(manifest.fields["truncated"] for manifest in manifests)
        publish_manifest(out, records, plan, Origin.cache(manifests[0]), truncated)
        return Manifest.read(out)


@dataclass(frozen=True, kw_only=True)
class _Shard:
    """A source's shard at its place among the rows of OUT: [begin, end)."""

    reader: ShardReader
    layout: Layout
    base: int  # what its rows are moved by
    begin: int
    end: int
    rejects: list[tuple[int, str]]
    class_ids: NDArray[np.int64]  # id in OUT by id in the source
    sha256: str  # of the tar


def _shards(
    manifests: Sequence[Manifest], names: list[str] | None, open_shards: OpenShards
) -> Iterator[_Shard]:
    base = 0
    for manifest in manifests:
        class_ids = np.array([(names or []).index(name) for name in manifest.label_names or ()], np.int64)
        end = 0
        for position, entry in enumerate(manifest.shards):
            record = manifest.record(position)
            check_files(manifest.folder, record)
            begin, end = entry["rows"]
            yield _Shard(
                reader=ShardReader(manifest, record, open_shards),
                layout=manifest.layout,
                base=base,
                begin=base + begin,
                end=base + end,
                rejects=[(base + row, reason) for row, reason in record["rejects"]],
                class_ids=class_ids,
                sha256=record["files"]["tar"]["sha256"],
            )
        base += end


def _write(
    out: Path,
    unit: int,
    shards: Sequence[_Shard],
    rows: range,
    layout: Layout,
    heads: Sequence[int],
    plan: Mapping[str, Any],
) -> dict[str, Any]:
    """Publish the shard of OUT that holds `rows`."""
    taken = [shard for shard in shards if shard.begin < rows.stop and shard.end > rows.start]
    places = [(shard, place) for shard in taken for place in _places(shard, rows)]
    samples = [
        sample
        for shard, group in itertools.groupby(places, key=lambda item: item[0])
        for sample in _samples(shard, [place for _, place in group], layout)
    ]
    facts = {
        "rows": [rows.start, rows.stop],
        "rejects": [[row, reason] for shard in taken for row, reason in shard.rejects if row in rows],
        "plan": plan,
    }
    relevance = ((number, _relevance(shard, place, heads)) for number, (shard, place) in enumerate(places))
    return ShardWriter(out, unit, layout).publish(samples, relevance, facts)


def _places(shard: _Shard, rows: range) -> range:
    own = shard.reader.index["row"] + shard.base
    begin, end = np.searchsorted(own, [rows.start, rows.stop])
    return range(int(begin), int(end))


def _samples(shard: _Shard, places: Sequence[int], layout: Layout) -> Iterator[Sample]:
    texts = _texts(shard, places) if layout.text else itertools.repeat(None)
    for place, text in zip(places, texts, strict=False):
        stored = shard.reader.read(place)
        labels, types = stored.others.get("labels"), stored.others.get("token_type_ids")
        if labels is not None:
            weights = np.zeros(layout.classes, np.float32)
            weights[shard.class_ids] = np.frombuffer(labels, "<f4")
        yield Sample(
            row=stored.row + shard.base,
            ids=np.frombuffer(stored.ids, shard.layout.ids_dtype),
            label=int(shard.class_ids[stored.label]) if layout.cls else -1,
            labels=None if labels is None else tuple(weights.tolist()),
            token_type_ids=None if types is None else np.frombuffer(types, np.uint8),
            text=text,
        )


def _texts(shard: _Shard, places: Sequence[int]) -> Iterator[str]:
    """Yield the texts of samples. No checksum of their own covers them, so the whole tar is hashed first."""
    path = shard.reader.path
    if sha256_file(path) != shard.sha256:
        raise ShardError(f"{path}: the bytes changed since it was written. Build its folder again.")
    with contextlib.closing(mapped(path)) as tar:
        for place in places:
            row, offset = (int(shard.reader.index[name][place]) for name in ("row", "offset"))
            where = f"{path}: sample {sample_key(row)}"
            members = dict(members_of(tar, offset, sample_key(row), shard.layout, where))
            yield members["txt"].decode()


def _relevance(shard: _Shard, place: int, heads: Sequence[int]) -> NDArray[np.float32]:
    stored = shard.reader.read(place, heads)
    stored_HT = np.frombuffer(b"".join(stored.relevance), shard.layout.relevance_dtype)
    scale_HT = None
    if "scale" in stored.others:
        scale_HT = np.frombuffer(stored.others["scale"], "<f4")[list(heads)][:, None]
    return decode(stored_HT.reshape(len(heads), stored.tokens), scale_HT)


def _rows_per_shard(manifest: Manifest) -> int:
    return max((entry["rows"][1] - entry["rows"][0] for entry in manifest.shards), default=0)


def _require_alike(first: Manifest, other: Manifest) -> None:
    def extractor(manifest: Manifest) -> object:
        return (manifest.fields["plan"].get("extractor") or {}).get("fingerprint")

    facts: dict[str, Callable[[Manifest], object]] = {
        "tokenizer": lambda manifest: manifest.tokenizer_fingerprint[:12],
        "extractor": extractor,
        "kind of relevance": lambda manifest: manifest.relevance,
        "set of heads": lambda manifest: [list(head) for head in manifest.heads],
        "kind of labels": _kind_of_labels,
        "second texts": lambda manifest: manifest.layout.token_types,
    }
    for what, fact in facts.items():
        one, two = fact(first), fact(other)
        if one != two:
            raise ShardError(
                f"{other.folder}: has another {what} than {first.folder} ({_short(two)}, there {_short(one)}). "
                "Make both with the same extractor and options."
            )


def _kind_of_labels(manifest: Manifest) -> str:
    if manifest.label_names is None:
        return "none"
    return "class weights" if manifest.multi_label else "class ids"


def _union(manifests: Sequence[Manifest]) -> list[str] | None:
    """Return the class names of all sources, the first one's first."""
    if manifests[0].label_names is None:
        return None
    return list(dict.fromkeys(name for manifest in manifests for name in manifest.label_names or ()))


def _layout(
    manifests: Sequence[Manifest], heads: int, names: list[str] | None, options: RepackOptions
) -> Layout:
    first = manifests[0].layout
    lacking = [manifest.folder for manifest in manifests if not manifest.layout.text]
    if lacking and len(lacking) < len(manifests) and not options.no_text:
        raise UsageError(f"{lacking[0]}: holds no texts, another source does. Leave them out with --no-text.")
    return replace(
        first,
        heads=heads,
        dtype=options.dtype or first.dtype,
        wide_ids=any(manifest.layout.wide_ids for manifest in manifests),
        classes=len(names or ()) if first.classes else 0,
        text=not lacking and not options.no_text,
    )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
