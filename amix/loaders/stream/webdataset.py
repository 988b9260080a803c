"""A pipeline of WebDataset over plain tars, for those who stream with it: it gives the batches of `RelevanceLoader`.

The tars need no index, and may have been written by anybody, with the members that docs/shards.md names.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amix.engine.base.errors import FetchError, ShardError, UsageError
from amix.engine.base.heads import Head
from amix.loaders.shards.layout import Wanted
from amix.loaders.shards.manifest import MANIFEST, Manifest
from amix.loaders.stores import Store, is_remote, shown
from amix.loaders.stream.batch import Batch
from amix.loaders.stream.decoding import Decoder, Picked
from amix.loaders.stream.members import Contents, grouped, layout_in, shard_samples

if TYPE_CHECKING:
    import webdataset as wds

    from amix.loaders.shards.reader import StoredSample

_MOST_IDS = 1 << 21  # more than any vocabulary has


def pipeline(
    urls: str | Sequence[str],
    *,
    head: str | None = "0.mean",
    batch_size: int = 32,
    shuffle: int = 1000,
    seed: int = 0,
    heads: Sequence[Head] | None = None,
    special_ids: Sequence[int] | None = None,
    pad_id: int | None = None,
    allow_pipe: bool = False,
) -> "wds.DataPipeline":
    """Return a `wds.DataPipeline` that yields a `Batch`, as `RelevanceLoader` does, for each `batch_size` samples.

    Read it as it is, or with `DataLoader(pipeline, batch_size=None, num_workers=N)`. Each process and each worker has
    its own shards, so there have to be as many; `batch_size` counts the samples of one worker.
    urls: of tars, braces expanded (`shard-{00000000..00000007}.tar`), as WebDataset opens them.
    head: head specs, as for `RelevanceDataset`; None reads no relevance.
    shuffle: how many samples wait to be drawn; shards are drawn too. 0 = in the order of the tars.  seed: of both; each
        iteration has another order, but workers that are started anew for an epoch begin with the first again.
    heads, special_ids, pad_id: what the rows of relevance are, which tokens are no content, and what to pad with. By
        default they are those of the manifest beside the first tar; without a manifest, give them.
    allow_pipe: run the commands of `pipe:` URLs.
    Where the checksums of a shard (`.crc.npy`) are beside its tar on this machine, what is read is compared with them.
    Raises UsageError for urls and options that cannot be, HeadError for a head that is not stored; the iteration raises
    ShardError naming tar and sample for anything damaged, missing or unlike the rest.
    """
    import webdataset as wds

    for name, number, least in (("batch_size", batch_size, 1), ("shuffle", shuffle, 0), ("seed", seed, 0)):
        if number < least:
            raise UsageError(f"{name} {number} is out of range; give {least} or more.")
    expanded = _expanded(urls, allow_pipe)
    contents = _contents(expanded, head, heads, special_ids, pad_id)
    return wds.DataPipeline(
        wds.SimpleShardList(expanded),
        wds.split_by_node,
        wds.split_by_worker,
        wds.detshuffle(len(expanded), len(expanded), seed) if shuffle else None,
        _Samples(contents),
        wds.detshuffle(shuffle, shuffle, seed) if shuffle else None,
        wds.batched(batch_size, collation_fn=_Collate(contents)),
    )


@dataclass(frozen=True)
class _Samples:
    """The stage that opens shards and yields what is wanted of their samples."""

    contents: Contents

    def __call__(self, sources: Iterable[dict[str, Any]]) -> "Iterator[StoredSample]":  # Any: of WebDataset
        for source in sources:
            yield from shard_samples(source["url"], self.contents)


@dataclass(frozen=True)
class _Collate:
    """The end of the pipeline: samples in, a batch of tensors out."""

    contents: Contents

    def __call__(self, stored: "list[StoredSample]") -> Batch:
        from amix.loaders.stream.collate import as_tensors

        return as_tensors(self.contents.decoder.flat(stored).padded(self.contents.pad_id))


def _expanded(urls: str | Sequence[str], allow_pipe: bool) -> list[str]:
    from webdataset.gopen import rewrite_url
    from webdataset.shardlists import expand_urls

    given = [urls] if isinstance(urls, str) else urls
    expanded = [url for each in given for url in expand_urls(each)]
    if not expanded:
        raise UsageError("urls names no tar. Give at least one.")
    for url in expanded:
        # WebDataset rewrites URLs as $GOPEN_REWRITE says, and gives what follows `pipe:` to a shell.
        if not allow_pipe and rewrite_url(url).startswith("pipe:"):
            raise UsageError(
                f"{url}: would run a shell command. If you wrote it yourself, give allow_pipe=True."
            )
    return expanded


def _contents(
    urls: Sequence[str],
    head: str | None,
    heads: Sequence[Head] | None,
    special_ids: Sequence[int] | None,
    pad_id: int | None,
) -> Contents:
    """Return what the samples consist of: by the manifest beside the first tar, else by the first sample."""
    manifest, where = _manifest(urls[0]), shown(urls[0])
    if manifest is not None:
        layout, vocab_size, classes = manifest.layout, manifest.vocab_size, len(manifest.label_names or ())
        heads = manifest.heads if heads is None else heads
        special_ids = manifest.special_ids if special_ids is None else special_ids
        pad_id = manifest.pad_id if pad_id is None else pad_id
    else:
        first = next((sample for url in urls for sample in grouped(url)), None)
        if first is None:
            raise ShardError(f"{where}: holds no sample, nor do the others.")
        layout, classes = layout_in(first, where), None
        vocab_size = _MOST_IDS if layout.wide_ids else 1 << 16
    for name, value in (("heads", heads if head else ()), ("special_ids", special_ids), ("pad_id", pad_id)):
        if value is None:
            raise UsageError(
                f"{where}: has no {MANIFEST} beside it, so {name} has to be given: which heads the rows of relevance "
                "are, as (layer, head); which ids are special tokens; and the id to pad with."
            )
    if heads is not None and len(heads) != layout.heads:
        raise UsageError(f"{where}: {len(heads)} heads were given, and relevance has {layout.heads} rows.")
    picked = Picked.of(head, tuple(heads or ()), where)
    return Contents(
        layout=layout,
        wanted=Wanted(layout, picked.heads),
        decoder=Decoder(layout, picked, vocab_size=vocab_size, special_ids=special_ids or ()),
        pad_id=pad_id or 0,
        classes=classes,
    )


def _manifest(url: str) -> Manifest | None:
    """Return the manifest beside a tar, if there is one."""
    if url.startswith("pipe:"):
        return None
    folder, _, _ = url.removeprefix("file://").rpartition("/")
    if not is_remote(folder):
        return Manifest.read(Path(folder or ".")) if (Path(folder) / MANIFEST).is_file() else None
    try:
        data = Store(folder).read(MANIFEST)
    except FetchError:
        return None
    return Manifest.parse(data, f"{shown(folder)}/{MANIFEST}", Path())
