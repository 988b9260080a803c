"""Samples of tars that nobody made an index of, from their members alone.

Axes: T tokens.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from zlib import crc32

from amix.engine.base.errors import FetchError, ShardError
from amix.loaders.shards.layout import RELEVANCE_DTYPES, Layout, Wanted
from amix.loaders.shards.npy import HEADER_BYTES, npy_header, parse_npy
from amix.loaders.shards.openfiles import Checksums, OpenFile
from amix.loaders.shards.reader import StoredSample
from amix.loaders.stores import is_remote, shown
from amix.loaders.stream.decoding import Decoder
from amix.loaders.stream.tarstream import members

Members = Mapping[str, Any]  # Any: bytes by the names of members, and WebDataset's own fields


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What all samples of a stream consist of, and what is read of them.

    classes: class ids are below this; None = unknown.
    """

    layout: Layout
    wanted: Wanted
    decoder: Decoder
    pad_id: int
    classes: int | None

    def stored(self, sample: Members, where: str, sums: Checksums | None, position: int) -> StoredSample:
        """Return what is wanted of a sample. Raises ShardError naming `where` and the sample.

        sums, position: the checksums of its shard, where they are at hand, and its place among them.
        """
        layout, tar, key = self.layout, where, str(sample["__key__"])
        where = f"{tar}: sample {key}"
        for name, here in (("cls", layout.cls), ("labels.npy", layout.classes > 0)):
            if (name in sample) != here:
                raise ShardError(f"{where}: {_unlike(name, here)}")
        tokens = (len(_member(sample, "input_ids.npy", where)) - HEADER_BYTES) // layout.ids_dtype.itemsize

        def payload(name: str) -> bytes:
            dtype, shape = layout.array(name, tokens)
            member = _member(sample, f"{name}.npy", where)
            header = npy_header(dtype, shape)
            if (
                not member.startswith(header)
                or len(member) != layout.payloads(tokens)[name][1] + HEADER_BYTES
            ):
                array = parse_npy(member, f"{where}: {name}.npy")  # which names what is wrong with it
                if (array.dtype, array.shape) != (dtype, shape):
                    raise ShardError(
                        f"{where}: {name}.npy is {array.dtype} {list(array.shape)} instead of {dtype} {list(shape)}. "
                        "All samples of a stream have to be alike."
                    )
            return member

        def checked(member: bytes, begin: int, size: int, column: int) -> bytes:
            data = member[HEADER_BYTES + begin : HEADER_BYTES + begin + size]
            if sums is not None and sums[column][position] != crc32(data):
                raise ShardError(
                    f"{where}: the bytes of {layout.crc_names[column]} do not match their checksum. The shard is "
                    "damaged; fetch or build it again."
                )
            return data

        ids = checked(payload("input_ids"), 0, tokens * layout.ids_dtype.itemsize, 0)
        relevance: list[bytes] = []
        if self.wanted.heads:
            member, row = payload("relevance"), tokens * layout.relevance_dtype.itemsize
            relevance = [checked(member, head * row, row, 1 + head) for head in self.wanted.heads]
        others = {
            name: checked(payload(name), 0, layout.payloads(tokens)[name][1], layout.crc_column(name))
            for name in self.wanted.others
        }
        label = self._label(sample["cls"], where) if layout.cls else -1
        return StoredSample(tar, key, tokens, label, ids, relevance, others)

    def _label(self, written: bytes, where: str) -> int:
        if (
            not written.isdigit()
            or len(written) > 9
            or (self.classes is not None and int(written) >= self.classes)
        ):
            of = "" if self.classes is None else f" of {self.classes} classes"
            raise ShardError(f"{where}: its class is {written[:20]!r}, which is no class id{of}.")
        return int(written)


def shard_samples(url: str, contents: Contents) -> Iterator[StoredSample]:
    """Yield what is wanted of the samples of a tar, in its order. Raises ShardError for damage, and FetchError."""
    sums, count = _checksums(url, contents.layout), 0
    for count, sample in enumerate(grouped(url), 1):
        if sums is not None and count > sums.samples:
            break
        yield contents.stored(sample, shown(url), sums, count - 1)
    if sums is not None and count != sums.samples:
        raise ShardError(
            f"{shown(url)}: holds {count} samples or more, and its checksums are of {sums.samples}."
        )


def grouped(url: str) -> Iterator[Members]:
    """Yield the samples of a tar, each as its members by name, in WebDataset's fields."""
    from webdataset.tariterators import group_by_keys

    where = shown(url)
    with _opened(url, where) as stream:
        files = ({"fname": name, "data": data, "__url__": url} for name, data in members(stream, where))
        try:
            yield from group_by_keys(files)
        except ValueError as problem:  # of a member that is there twice
            raise ShardError(
                f"{where}: {problem.args[0]}. It was not written by amix or WebDataset."
            ) from None


def layout_in(sample: Members, where: str) -> Layout:
    """Return the layout of a sample that was written by whomever. Raises ShardError naming what it lacks."""
    where = f"{where}: sample {sample['__key__']}"
    ids = parse_npy(_member(sample, "input_ids.npy", where), f"{where}: input_ids.npy")
    relevance = parse_npy(_member(sample, "relevance.npy", where), f"{where}: relevance.npy")
    labels = parse_npy(sample["labels.npy"], f"{where}: labels.npy") if "labels.npy" in sample else None
    dtypes = {dtype: name for name, dtype in RELEVANCE_DTYPES.items()}
    if ids.dtype.kind != "u" or ids.dtype.itemsize == 1 or ids.ndim != 1:
        raise ShardError(
            f"{where}: input_ids.npy is {ids.dtype} {list(ids.shape)}, not uint16 or uint32 [tokens]."
        )
    if relevance.dtype not in dtypes or relevance.ndim != 2 or relevance.shape[1] != len(ids):
        raise ShardError(
            f"{where}: relevance.npy is {relevance.dtype} {list(relevance.shape)}, not float16, float32 or uint8 "
            f"[heads, {len(ids)} tokens]."
        )
    return Layout(
        heads=len(relevance),
        dtype=dtypes[relevance.dtype],
        wide_ids=ids.dtype.itemsize == 4,
        token_types="token_type_ids.npy" in sample,
        classes=0 if labels is None else labels.size,
        cls="cls" in sample,
        text="txt" in sample,
    )


@contextlib.contextmanager
def _opened(url: str, where: str) -> Iterator[IO[bytes]]:
    from webdataset.gopen import gopen, gopen_schemes

    try:
        if is_remote(url) and url.partition("://")[0] not in (*gopen_schemes, "file"):
            import fsspec

            with fsspec.open(url, "rb") as stream:
                yield stream
        else:
            with gopen(url) as stream:
                yield stream
    except (OSError, ImportError) as problem:
        reason = getattr(problem, "strerror", None) or type(problem).__name__
        raise FetchError(
            f"{where}: cannot be read ({reason}). Check that it is there and that you may read it."
        ) from None


def _checksums(url: str, layout: Layout) -> Checksums | None:
    path = Path(url.removeprefix("file://"))
    beside = path.with_name(f"{path.name.removesuffix('.tar')}.crc.npy")
    if ":" in str(path) or not beside.is_file():
        return None
    return Checksums(OpenFile(beside), len(layout.crc_names))


def _member(sample: Members, name: str, where: str) -> bytes:
    if name not in sample:
        held = ", ".join(sorted(name for name in sample if not name.startswith("__")))
        raise ShardError(
            f"{where}: has no member {name}; it has {held}. The tar was cut, or holds something else."
        )
    data: bytes = sample[name]
    return data


def _unlike(name: str, wanted: bool) -> str:
    have = ("has no", "the others have one") if wanted else ("has a", "the others have none")
    return f"{have[0]} {name}, and {have[1]}. All samples of a stream have to be alike."
