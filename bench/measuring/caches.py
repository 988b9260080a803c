"""Caches of made-up texts, written by amix's own writer."""

import itertools
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from amix.loaders.shards.finish import publish_manifest
from amix.loaders.shards.layout import Layout
from amix.loaders.shards.recipe import Recipe
from amix.loaders.shards.records import ShardFacts
from amix.loaders.shards.tokenizer import TokenizerFile
from amix.loaders.shards.writer import Sample, ShardWriter
from measuring.payload import HEADS, VOCABULARY, Text

PER_SHARD = 4096


def write_cache(folder: Path, texts: Iterable[Text], heads: int = HEADS, max_length: int = 512) -> None:
    """Write a cache of `texts`, each shard published as `amix precompute` does it."""
    folder.mkdir(parents=True)
    layout = Layout(
        heads=heads, dtype="float16", wide_ids=False, token_types=False, classes=0, cls=True, text=False
    )
    recipe = Recipe(
        {
            "heads": [[head // 12, head % 12] for head in range(heads)],
            "layout": asdict(layout),
            "max_length": max_length,
            "labels": ["no", "yes"],
        }
    )
    records, rows = [], itertools.count()
    stream = iter(texts)
    batches = iter(lambda: list(itertools.islice(stream, PER_SHARD)), [])
    for unit, batch in enumerate(batches):
        samples = [Sample(row=next(rows), ids=text.ids, label=text.label) for text in batch]
        facts = ShardFacts(row_range=(samples[0].row, samples[-1].row + 1), recipe=Recipe({}))
        relevance = ((place, text.relevance) for place, text in enumerate(batch))
        records.append(ShardWriter(folder, unit, layout).publish(samples, relevance, facts))
    tokenizer = TokenizerFile.of(
        b"{}", fingerprint="0" * 64, special_ids=(0, 101, 102), pad_id=0, vocab_size=VOCABULARY
    )
    publish_manifest(folder, records, recipe, relevance="received", tokenizer=tokenizer, truncated=0)
