import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amix.loaders.stream.order import bucketed, order

SEEDS = st.integers(0, 2**32)


@pytest.mark.parametrize(
    ("options", "want"),
    [
        ({}, [3, 6, 4, 0, 7, 5, 2, 1]),
        ({"shuffle": "none"}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({"shuffle": "window", "shards": np.arange(8) // 2, "window": 2}, [1, 0, 6, 7, 5, 3, 4, 2]),
    ],
)
def test_orders_are_pinned(options: dict[str, Any], want: list[int]) -> None:
    # Runs that are resumed under a later version must meet the same order.
    assert order(8, seed=0, epoch=0, **options)[:].tolist() == want


def test_buckets_are_pinned() -> None:
    lengths = np.array([5, 1, 4, 2, 8, 7, 3, 6, 9], np.int32)
    assert bucketed(np.arange(9), lengths, 0, 0, batch_size=2, batches=2).tolist() == [
        2,
        0,
        1,
        3,
        6,
        7,
        5,
        4,
        8,
    ]


@given(SEEDS, SEEDS, st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(0, 100))
def test_a_window_has_every_sample_once_and_few_shards_in_use(
    seed: int, epoch: int, sizes: list[int], window: int
) -> None:
    shards = np.repeat(np.arange(len(sizes)), sizes)
    numbers = order(len(shards), seed, epoch, "window", shards=shards, window=window)[:]
    assert sorted(numbers.tolist()) == list(range(len(shards)))

    met = shards[numbers]
    spans = [
        (np.flatnonzero(met == shard).min(), np.flatnonzero(met == shard).max())
        for shard in range(len(sizes))
    ]
    most = max(sum(first <= place <= last for first, last in spans) for place in range(len(met)))
    # Shards begin at least the least size apart, and each is in use for its size and the window.
    assert most <= math.ceil((max(sizes) + window) / min(sizes)) + 1


def test_a_window_as_wide_as_the_corpus_shuffles_well() -> None:
    shards = np.arange(4096) // 64
    numbers = order(4096, 0, 0, "window", shards=shards, window=4096)[:]
    apart = np.abs(np.argsort(numbers) - np.arange(4096)).mean() / 4096
    assert abs(apart - 1 / 3) < 0.05  # as between two uniform draws
    batches = shards[numbers].reshape(-1, 64)
    assert np.mean([len(set(batch)) for batch in batches]) > 30  # of 40.6 when all are drawn uniformly


@given(
    SEEDS,
    SEEDS,
    st.lists(st.integers(1, 512), max_size=80),
    st.integers(1, 9),
    st.integers(1, 5),
)
def test_buckets_rearrange_whole_batches_within_their_stretch(
    seed: int, epoch: int, tokens: list[int], batch_size: int, batches: int
) -> None:
    lengths = np.array(tokens, np.int32)
    before = order(len(tokens), seed, epoch)[:]
    after = bucketed(before, lengths, seed, epoch, batch_size=batch_size, batches=batches)
    whole = len(tokens) // batch_size * batch_size
    assert after[whole:].tolist() == before[whole:].tolist()
    stretch = batch_size * batches
    for begin in range(0, whole, stretch):
        end = min(begin + stretch, whole)
        assert sorted(after[begin:end]) == sorted(before[begin:end])
        cuts = sorted(sorted(lengths[after[at : at + batch_size]]) for at in range(begin, end, batch_size))
        assert [length for cut in cuts for length in cut] == sorted(lengths[before[begin:end]])
