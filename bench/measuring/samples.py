"""Samples of a corpus that have its distribution of lengths, whatever their size."""

import contextlib
from pathlib import Path

import numpy as np

from amix.loaders.corpus import CorpusOptions, Row, open_corpus
from amix.loaders.precompute.tokenize import TextEncoder


def read(source: str) -> list[str]:
    """Return the text of every usable row, in order."""
    corpus = open_corpus(source, CorpusOptions(no_labels=True))
    with contextlib.closing(corpus.rows()) as rows:
        return [row.text for row in rows if row.text is not None]


def draw(texts: list[str], count: int, seed: int) -> list[str]:
    """Return `count` texts in random order: one drawn from each of `count` ranges of neighbouring lengths.

    So a small sample has the lengths of a large one, and costs per token of samples of different sizes compare.
    """
    count = min(count, len(texts))
    rng = np.random.default_rng(seed)
    by_length = np.argsort([len(text) for text in texts], kind="stable")
    edges = np.linspace(0, len(texts), count + 1).astype(int)
    picked = by_length[rng.integers(edges[:-1], edges[1:])]
    return [texts[i] for i in rng.permutation(picked)]


def longest(texts: list[str], count: int) -> list[str]:
    """Return the `count` longest texts, the longest first."""
    return sorted(texts, key=len, reverse=True)[:count]


def lengths(tokenizer: Path, texts: list[str], max_length: int) -> list[int]:
    """Return the tokens of each text, special ones included, cut to `max_length`."""
    rows = [Row(number=number, text=text) for number, text in enumerate(texts)]
    return [len(encoded.ids) for encoded in TextEncoder(tokenizer, max_length).encode(rows)]


def write(path: Path, texts: list[str]) -> Path:
    """Write `texts` to `path` as Parquet in row groups of 1,000, as the Hub's data sets come."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": texts}), path, row_group_size=1000)
    return path
