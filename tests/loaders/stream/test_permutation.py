"""An order whose stretches are computed by themselves: every number once, and no pattern that a test of chance finds.

What is stated of it (docs/scaling.md): counts of where numbers go, of neighbours, and of two keys against each other
differ from a uniform draw as little as one uniform draw from another, by chi-square over eight keys.
"""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from amix.loaders.stream import order as orders
from amix.loaders.stream.loader import RelevanceLoader
from amix.loaders.stream.order import order
from amix.loaders.stream.permutation import KeyedPermutation

KEYS = st.integers(0, 2**62)


@given(st.integers(0, 3000), KEYS, KEYS)
def test_every_number_comes_once(count: int, seed: int, epoch: int) -> None:
    numbers = KeyedPermutation(count, seed, epoch)
    assert len(numbers) == count
    assert sorted(numbers[:].tolist()) == list(range(count))


@given(st.integers(1, 1 << 62), KEYS, st.data())
def test_any_stretch_is_a_part_of_the_whole(count: int, seed: int, data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, count))
    numbers = KeyedPermutation(count, seed)
    stretch = numbers[begin : begin + 40]
    assert len(stretch) == min(40, count - begin) == len(set(stretch.tolist()))
    assert all(0 <= number < count for number in stretch.tolist())
    other = KeyedPermutation(count, seed)
    assert [other[begin + place] for place in range(0, len(stretch), 7)] == stretch[::7].tolist()


def test_the_order_is_pinned() -> None:
    # Runs that are resumed under a later version must meet the same order.
    assert KeyedPermutation(1000, 0, 0)[:5].tolist() == [427, 976, 183, 110, 331]


def chi_square(counts: NDArray[np.int64]) -> float:
    """How far counts are from being equal, in standard deviations of what chance gives."""
    expected, freedom = counts.sum() / counts.size, counts.size - 1
    return float((((counts - expected) ** 2 / expected).sum() - freedom) / np.sqrt(2 * freedom))


def measures(draw: Callable[[int, int], NDArray[np.int64]], seed: int) -> dict[str, float]:
    """Chi-square of nine tables of 1,024 counts. draw: from seed and epoch to an order."""
    numbers, next_epoch, next_seed = draw(seed, 0), draw(seed, 1), draw(seed + 1, 0)
    count = len(numbers)
    places = np.arange(count)
    coarse, fine = numbers * 32 // count, numbers % 32
    tables = {
        "where numbers go": (places * 32 // count) * 32 + coarse,
        "their last bits": (places % 32) * 32 + fine,
        "how far": (numbers - places) % count * 1024 // count,
        "neighbours": coarse[:-1] * 32 + coarse[1:],
        "last bits of neighbours": fine[:-1] * 32 + fine[1:],
        "steps": np.diff(numbers) % count * 1024 // count,
        "the next epoch": coarse * 32 + next_epoch * 32 // count,
        "the next seed": coarse * 32 + next_seed * 32 // count,
        "differences from the next epoch": (numbers - next_epoch) % count * 1024 // count,
    }
    return {name: chi_square(np.bincount(table, minlength=1024)) for name, table in tables.items()}


@pytest.mark.parametrize("count", [1 << 18, (1 << 18) + 1, 300_007])
def test_counts_are_those_of_chance(count: int) -> None:
    keyed = [measures(lambda *key: KeyedPermutation(count, *key)[:], seed) for seed in range(8)]
    drawn = [measures(lambda *key: np.random.default_rng(key).permutation(count), seed) for seed in range(8)]
    for name in keyed[0]:
        ours, uniform = (np.array([each[name] for each in found]) for found in (keyed, drawn))
        assert ours.max() < 4.5, (name, ours)
        assert abs(ours.mean() - uniform.mean()) < 1.75, (name, ours, uniform)  # 3.5 standard errors


def test_few_numbers_stay_in_place() -> None:
    stay = [int((KeyedPermutation(5000, seed)[:] == np.arange(5000)).sum()) for seed in range(200)]
    assert 0.7 < np.mean(stay) < 1.3  # 1 on average, as of a uniform draw


def test_a_billion_samples_are_not_held() -> None:
    import tracemalloc

    tracemalloc.start()
    numbers = order(10**9, seed=0, epoch=3)
    for begin in (0, 5 * 10**8, 10**9 - 64):
        assert len(set(numbers[begin : begin + 64].tolist())) == 64
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4e6


def test_few_samples_keep_the_order_that_is_drawn_as_a_whole() -> None:
    assert isinstance(order(1000, 0, 0), np.ndarray)
    assert isinstance(order(orders.MOST_HELD + 1, 0, 0), KeyedPermutation)


@pytest.mark.parametrize("ends", ["exact", "drop", "pad"])
@pytest.mark.parametrize("bucket_batches", [0, 2])
def test_a_loader_of_many_samples(
    shards: object, ends: str, bucket_batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from amix.loaders.stream.dataset import RelevanceDataset

    dataset = RelevanceDataset(str(shards))
    before = RelevanceLoader(dataset, batch_size=14).state_dict()
    monkeypatch.setattr(orders, "MOST_HELD", 10)

    def keys(rank: int, world_size: int) -> list[list[str]]:
        loader = RelevanceLoader(
            dataset,
            batch_size=14,
            group_size=7,
            ends=ends,  # type: ignore[arg-type]  # one of the three
            bucket_batches=bucket_batches,
            rank=rank,
            world_size=world_size,
        )
        assert loader.state_dict()["order"] == "keyed" != before.get("order")
        return [batch["keys"] for batch in loader]

    alone = [key for batch in keys(0, 1) for key in batch]
    assert len(set(alone)) == {"exact": 60, "drop": 56, "pad": 60}[ends]
    assert len(alone) == {"exact": 60, "drop": 56, "pad": 70}[ends]
    if ends == "pad":
        assert alone[60:] == alone[:10]
    assert sorted(key for rank in (0, 1) for batch in keys(rank, 2) for key in batch) == sorted(alone)
