"""The end of a run that writes shards: what makes a folder of them a cache."""

from collections.abc import Sequence
from pathlib import Path

from amix.engine.base import canonical
from amix.engine.base.publish import sha256_bytes
from amix.loaders.shards.card import card, longest_text
from amix.loaders.shards.choices import RelevanceKind
from amix.loaders.shards.entries import ShardEntries, ShardEntry
from amix.loaders.shards.manifest import CARD, MANIFEST, REJECTS, CorpusFile, Manifest
from amix.loaders.shards.output import Destination, destination
from amix.loaders.shards.output.documents import read_manifest
from amix.loaders.shards.recipe import Recipe
from amix.loaders.shards.records import ShardRecord
from amix.loaders.shards.tokenizer import TOKENIZER, TokenizerFile


def publish_manifest(
    out: Path | Destination,
    records: Sequence[ShardRecord],
    recipe: Recipe,
    *,
    relevance: RelevanceKind,
    tokenizer: TokenizerFile,
    truncated: int | None = None,
    files: Sequence[CorpusFile] = (),
) -> Manifest:
    """Write tokenizer, card and rejects, then the manifest, and return it. The same arguments give the same bytes.

    records: of all shards, in order.  recipe: also says the heads, layout, max_length and labels of the cache.
    truncated: texts that were cut at max_length, None = as the records say, which those of a rewritten cache do not.
    files: that the corpus was read from.
    """
    place = destination(out)
    rejects = [reject for record in records for reject in record.rejects]
    manifest = Manifest(
        folder=place.path or Path(),
        samples=sum(record.samples for record in records),
        tokens=sum(record.tokens for record in records),
        tar_bytes=sum(record.tar.bytes for record in records),
        reject_count=len(rejects),
        truncated=sum(record.truncated or 0 for record in records) if truncated is None else truncated,
        relevance=relevance,
        heads=recipe.heads,
        layout=recipe.layout,
        max_length=recipe.max_length,
        label_names=recipe.label_names,
        tokenizer=tokenizer.info,
        recipe=recipe,
        shards=ShardEntries.of(map(_entry, records)),
        files=tuple(files),
    )
    documents = {TOKENIZER: tokenizer.data, CARD: card(manifest, longest_text(place.read, records)).encode()}
    if rejects:
        lines = (canonical.dumps(reject._asdict()) for reject in rejects)
        documents[REJECTS] = b"".join(line + b"\n" for line in lines)
    for name, data in documents.items():
        place.write(name, data)
        place.flush()
    place.commit(MANIFEST, manifest.sealed())
    return read_manifest(place)


def _entry(record: ShardRecord) -> ShardEntry:
    return ShardEntry(
        name=record.name,
        row_range=record.row_range,
        samples=record.samples,
        tokens=record.tokens,
        tar_bytes=record.tar.bytes,
        record_sha256=sha256_bytes(record.sealed()),
    )
