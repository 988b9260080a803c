"""The shards that a repack reads, and the samples in them, as they are stored in OUT.

Axes: H heads, T tokens.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amix.engine.base.errors import ShardError
from amix.engine.base.publish import sha256_file
from amix.loaders.shards.codes import decode
from amix.loaders.shards.layout import BLOCK, Layout, Wanted, in_blocks, sample_key
from amix.loaders.shards.manifest import Manifest
from amix.loaders.shards.npy import HEADER_BYTES
from amix.loaders.shards.openfiles import OpenFile, OpenShards
from amix.loaders.shards.reader import ShardReader
from amix.loaders.shards.records import Reject
from amix.loaders.shards.tar import members_of
from amix.loaders.shards.writer import Sample


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceShard:
    """A shard of a source, at its place among the rows of OUT.

    base: what is added to its row numbers.  row_range: [first, end) in OUT.  rejects: by row of OUT.
    class_ids: the id in OUT of each id in the source.  tar_sha256: of its tar.
    """

    reader: ShardReader
    layout: Layout
    base: int
    row_range: tuple[int, int]
    rejects: tuple[Reject, ...]
    class_ids: NDArray[np.int64]
    tar_sha256: str

    def meets(self, rows: range) -> bool:
        """Tell whether some of `rows` are in this shard."""
        first, end = self.row_range
        return first < rows.stop and end > rows.start

    def places(self, rows: range) -> range:
        """Return the positions in this shard of the samples of `rows`."""
        own = self.reader.index["row"] + self.base
        begin, end = np.searchsorted(own, [rows.start, rows.stop])
        return range(int(begin), int(end))

    def samples(self, places: Sequence[int], layout: Layout) -> Iterator[Sample]:
        """Yield the samples at `places` as a cache of `layout` stores them."""
        wanted = Wanted(self.layout)
        texts = self._texts(places) if layout.text else itertools.repeat(None)
        for place, text in zip(places, texts, strict=False):
            stored = self.reader.read(place, wanted)
            labels, types = stored.others.get("labels"), stored.others.get("token_type_ids")
            if labels is not None and layout.classes:
                weights = np.zeros(layout.classes, np.float32)
                weights[self.class_ids] = np.frombuffer(labels, "<f4")
            yield Sample(
                row=int(stored.key) + self.base,
                ids=np.frombuffer(stored.ids, self.layout.ids_dtype),
                label=int(self.class_ids[stored.label]) if layout.cls else -1,
                labels=None if labels is None or not layout.classes else tuple(weights.tolist()),
                token_type_ids=None if types is None else np.frombuffer(types, np.uint8),
                text=text,
            )

    def relevance(self, places: Sequence[int], heads: Sequence[int]) -> Iterator[NDArray[np.float32]]:
        """Yield the relevance of `heads` for each of the samples at `places`, (H, T)."""
        wanted = Wanted(self.layout, heads)
        for place in places:
            stored = self.reader.read(place, wanted)
            stored_HT = np.frombuffer(b"".join(stored.relevance), self.layout.relevance_dtype)
            scale_HT = None
            scale = stored.others.get("scale")
            if scale is not None:
                scale_HT = np.frombuffer(scale, "<f4")[list(heads)][:, None]
            yield decode(stored_HT.reshape(len(heads), stored.tokens), scale_HT)

    def _texts(self, places: Sequence[int]) -> Iterator[str]:
        """Yield the texts of samples. They have no checksums of their own, so the whole tar is hashed first."""
        path = self.reader.path
        if sha256_file(path) != self.tar_sha256:
            raise ShardError(f"{path}: the bytes changed since it was written. Build its folder again.")
        tar = OpenFile(path)
        for place in places:
            row, offset = (int(self.reader.index[name][place]) for name in ("row", "offset"))
            where = f"{path}: sample {sample_key(row)}"
            members = dict(members_of(tar, offset, sample_key(row), self.layout, where))
            yield members["txt"].decode()


class Room(NamedTuple):
    """The room that the members of one name take, in bytes: their values alone, and all of it in the tars."""

    values: int
    tar: int


def room_of_arrays(manifest: Manifest) -> dict[str, Room]:
    """Return the room that each kind of array takes in a cache, by the name of its members.

    In a tar, a member has a header of 512 bytes, an array its own of 128, and zeros fill the last block of 512.
    """
    layout = manifest.layout
    found = {name: Room(0, 0) for name in layout.arrays}
    for position in range(len(manifest.shards)):
        index = ShardReader(manifest, manifest.record(position)).index
        for tokens, count in zip(*np.unique(index["tokens"], return_counts=True), strict=True):
            for name, (_, size) in layout.payloads(int(tokens)).items():
                values, tar = found[name]
                whole = BLOCK + in_blocks(HEADER_BYTES + size)
                found[name] = Room(values + int(count) * size, tar + int(count) * whole)
    return {f"{name}.npy": room for name, room in found.items()}


def source_shards(
    manifests: Sequence[Manifest], label_names: Sequence[str] | None, open_shards: OpenShards
) -> Iterator[SourceShard]:
    """Yield the shards of all sources, one source after the other, with their rows numbered consecutively.

    label_names: of OUT.  Raises ShardError for a shard that is not whole.
    """
    base = 0
    for manifest in manifests:
        ids = {name: number for number, name in enumerate(label_names or ())}
        class_ids = np.array([ids[name] for name in manifest.label_names or ()], np.int64)
        end = 0
        for position in range(len(manifest.shards)):
            record = manifest.record(position)
            record.require_files(manifest.folder)
            first, end = record.row_range
            yield SourceShard(
                reader=ShardReader(manifest, record, open_shards),
                layout=manifest.layout,
                base=base,
                row_range=(base + first, base + end),
                rejects=tuple(Reject(base + row, reason) for row, reason in record.rejects),
                class_ids=class_ids,
                tar_sha256=record.tar.sha256,
            )
        base += end
