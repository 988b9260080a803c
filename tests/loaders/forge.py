"""Caches with whatever a test wants in them, and hashes that agree with it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amix.loaders.shards.finish import publish_manifest
from amix.loaders.shards.layout import Layout
from amix.loaders.shards.recipe import Recipe
from amix.loaders.shards.records import Reject, ShardFacts
from amix.loaders.shards.tokenizer import TokenizerFile
from amix.loaders.shards.writer import Sample, ShardWriter

VOCABULARY = 1000

Made = tuple[Sample, NDArray[np.float32]]  # a sample, and its relevance (H, T)
Make = Callable[[int, int, Layout], Made]


def layout_of(**changes: Any) -> Layout:  # Any: fields of a layout
    plain = {"heads": 2, "dtype": "float16", "wide_ids": False, "token_types": False, "classes": 0}
    return Layout(**{**plain, "cls": not changes.get("classes"), "text": False, **changes})


def random_sample(row: int, tokens: int, layout: Layout) -> Made:
    """A text of `tokens` tokens that begins with 101 and ends with 102, and its relevance, which sums to them."""
    rng = np.random.default_rng([row, tokens])
    ids = rng.integers(110, VOCABULARY, tokens)
    ids[:1], ids[-1:] = 101, 102
    relevance_HT = rng.random((layout.heads, tokens), np.float32) ** 3 + np.float32(1e-3)
    relevance_HT *= tokens / relevance_HT.sum(axis=1, keepdims=True).clip(1e-3)
    sample = Sample(
        row=row,
        ids=ids,
        label=-1 if layout.classes or not layout.cls else row % 3,
        labels=tuple(rng.random(layout.classes).tolist()) if layout.classes else None,
        token_type_ids=(np.arange(tokens) > tokens // 2) if layout.token_types else None,
        text="a text" if layout.text else None,
    )
    return sample, relevance_HT


def forge(
    folder: Path,
    lengths: Sequence[int],
    layout: Layout | None = None,
    *,
    per_shard: int = 16,
    names: Sequence[str] = ("a", "b", "c"),
    fingerprint: str = "0" * 64,
    rejects: Sequence[int] = (),
    make: Make = random_sample,
) -> Path:
    """Write a cache with one text for each of `lengths`, without the rows of `rejects`; `make` says what is in it."""
    layout = layout or layout_of()
    folder.mkdir(parents=True)
    recipe = Recipe(
        {
            "heads": [[head // 2, head % 2] for head in range(layout.heads)],
            "layout": asdict(layout),
            "max_length": 512,
            "labels": None if not (layout.cls or layout.classes) else list(names),
            "extractor": {"fingerprint": fingerprint},
        }
    )
    records = []
    for unit, begin in enumerate(range(0, len(lengths), per_shard)):
        rows = range(begin, min(begin + per_shard, len(lengths)))
        made = [make(row, lengths[row], layout) for row in rows if row not in rejects]
        facts = ShardFacts(
            row_range=(rows.start, rows.stop),
            rejects=tuple(Reject(row, "no text") for row in rows if row in rejects),
            recipe=recipe,
        )
        relevance = [(place, relevance_HT) for place, (_, relevance_HT) in enumerate(made)]
        records.append(
            ShardWriter(folder, unit, layout).publish([sample for sample, _ in made], relevance, facts)
        )
    publish_manifest(folder, records, recipe, relevance="received", tokenizer=made_up_tokenizer())
    return folder


def made_up_tokenizer() -> TokenizerFile:
    """A tokenizer file without a tokenizer in it."""
    return TokenizerFile.of(
        b"{}", fingerprint="0" * 64, special_ids=(0, 101, 102), pad_id=0, vocab_size=VOCABULARY
    )
