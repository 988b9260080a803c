import itertools
import json
import multiprocessing
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from amix.engine.base.errors import ShardError, UsageError
from amix.loaders.stream.batch import Batch
from amix.loaders.stream.dataset import RelevanceDataset
from amix.loaders.stream.loader import Ends, Reading, RelevanceLoader
from amix.loaders.stream.order import Shuffle
from amix.loaders.stream.reading import StartMethod
from tests.loaders.fixtures import by_name
from tests.processes import in_clean_process


@pytest.fixture(scope="module")
def dataset(shards: Path) -> RelevanceDataset:
    return RelevanceDataset(shards, head="0.mean")


def keys(batches: Iterable[Batch]) -> list[str]:
    return [key for batch in batches for key in batch["keys"]]


def named(numbers: Iterable[int]) -> list[str]:
    return [f"{number:012d}" for number in numbers]


def test_batches_are_padded_and_masked(dataset: RelevanceDataset) -> None:
    batch = next(iter(RelevanceLoader(dataset, batch_size=8)))
    shape = batch["input_ids"].shape
    assert shape[0] == 8
    for name, dtype in (
        ("input_ids", torch.int64),
        ("attention_mask", torch.int64),
        ("relevance", torch.float32),
        ("content", torch.bool),
    ):
        assert by_name(batch)[name].shape == shape
        assert by_name(batch)[name].dtype == dtype
    assert batch["labels"].dtype == torch.int64
    padding = batch["attention_mask"] == 0
    assert bool(padding.any())
    for name in ("input_ids", "relevance", "content"):
        assert not bool(by_name(batch)[name][padding].any())
    for row, key in enumerate(batch["keys"]):
        sample, length = dataset[int(key)], int(batch["attention_mask"][row].sum())
        assert batch["input_ids"][row, :length].tolist() == sample["input_ids"].tolist()


def test_every_sample_once_per_epoch_in_an_order_of_seed_and_epoch(dataset: RelevanceDataset) -> None:
    orders = {}
    for seed, epoch in itertools.product((0, 1), (0, 1)):
        loader = RelevanceLoader(dataset, batch_size=7, seed=seed)
        loader.set_epoch(epoch)
        orders[seed, epoch] = tuple(keys(loader))
        assert len(loader) == 9
        assert sorted(orders[seed, epoch]) == [f"{number:012d}" for number in range(60)]
    assert len(set(orders.values())) == 4
    again = RelevanceLoader(dataset, batch_size=20, seed=1)
    again.set_epoch(1)
    assert tuple(keys(again)) == orders[1, 1]


def test_ranks_share_each_batch_in_whole_groups(dataset: RelevanceDataset) -> None:
    whole = list(RelevanceLoader(dataset, batch_size=16, group_size=4))
    parts = [
        list(RelevanceLoader(dataset, batch_size=16, group_size=4, rank=r, world_size=2)) for r in (0, 1)
    ]
    for number, batch in enumerate(whole):
        shared = [key for part in parts if number < len(part) for key in part[number]["keys"]]
        assert shared == batch["keys"]


@pytest.mark.parametrize("batch_size", [14, 16, 22, 58, 64])
@pytest.mark.parametrize("ends", ["exact", "drop", "pad"])
def test_uneven_ends_are_what_was_asked_for(dataset: RelevanceDataset, batch_size: int, ends: Ends) -> None:
    loaders = [
        RelevanceLoader(dataset, batch_size=batch_size, ends=ends, rank=rank, world_size=2) for rank in (0, 1)
    ]
    parts = [list(loader) for loader in loaders]
    assert [len(part) for part in parts] == [len(loader) for loader in loaders]
    seen = sorted(keys(itertools.chain(*parts)))
    everything = list(RelevanceLoader(dataset, batch_size=batch_size))
    match ends:
        case "exact":
            assert seen == named(range(60))
            assert all(batch["keys"] for part in parts for batch in part)
        case "drop":
            assert seen == sorted(keys(everything[: 60 // batch_size]))
        case "pad":
            repeated = keys(everything)[: -60 % batch_size]
            assert seen == sorted(named(range(60)) + repeated)
    if ends != "exact":  # a rank that waits for the others must not wait for ever
        assert all(len(batch["keys"]) == batch_size // 2 for part in parts for batch in part)
        assert len(parts[0]) == len(parts[1])


def test_fewer_samples_than_a_batch(dataset: RelevanceDataset) -> None:
    few = np.array([7, 3])
    lengths = {
        ends: [len(batch["keys"]) for batch in RelevanceLoader(dataset, batch_size=5, ends=ends, subset=few)]
        for ends in ("exact", "drop", "pad")
    }
    assert lengths == {"exact": [2], "drop": [], "pad": [5]}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [0, 1, 5, 8])
def test_going_on_gives_exactly_the_batches_that_were_missing(
    dataset: RelevanceDataset, workers: int, stop: int
) -> None:
    whole = RelevanceLoader(dataset, batch_size=7, seed=5)
    whole.set_epoch(2)
    expected = [batch["keys"] for batch in whole]
    first = RelevanceLoader(
        dataset, batch_size=7, seed=5, reading=Reading(workers=workers if stop == 5 else 0)
    )
    first.set_epoch(2)
    seen = [batch["keys"] for batch in itertools.islice(first, stop)]
    state = json.loads(json.dumps(first.state_dict()))
    assert len(json.dumps(state)) < 1000
    second = RelevanceLoader(dataset, batch_size=7, seed=5)
    second.load_state_dict(state)
    assert seen + [batch["keys"] for batch in second] == expected
    assert len(list(second)) == len(expected)  # the next iteration is a whole one


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"seed": 1}, "seed"),
        ({"batch_size": 8}, "batch_size"),
        ({"shuffle": "none"}, "shuffle"),
        ({"group_size": 7}, "group"),
        ({"ends": "drop"}, "ends"),
        ({"bucket_batches": 4}, "bucket_batches"),
    ],
)
def test_a_state_of_another_loader_is_refused_by_field(
    dataset: RelevanceDataset, change: dict[str, Any], field: str
) -> None:
    state = RelevanceLoader(dataset, batch_size=14).state_dict()
    with pytest.raises(ShardError, match=field):
        RelevanceLoader(dataset, **{"batch_size": 14, **change}).load_state_dict(state)


def test_a_state_of_another_cache_is_refused(dataset: RelevanceDataset) -> None:
    loader = RelevanceLoader(dataset)
    with pytest.raises(ShardError, match="manifest"):
        loader.load_state_dict({**loader.state_dict(), "manifest": "0" * 64})


def test_a_state_of_another_window_is_refused(dataset: RelevanceDataset) -> None:
    state = RelevanceLoader(dataset, shuffle="window", window=10).state_dict()
    with pytest.raises(ShardError, match="window"):
        RelevanceLoader(dataset, shuffle="window", window=20).load_state_dict(state)


def test_going_on_under_other_numbers_of_ranks_and_workers(dataset: RelevanceDataset) -> None:
    """What two ranks have not had, four ranks get, with other workers, and then one."""

    def loaders(world_size: int, workers: int = 0) -> list[RelevanceLoader]:
        return [
            RelevanceLoader(
                dataset,
                batch_size=16,
                group_size=4,
                shuffle="window",
                window=20,
                bucket_batches=2,
                rank=rank,
                world_size=world_size,
                reading=Reading(workers=workers),
            )
            for rank in range(world_size)
        ]

    def steps(of: list[RelevanceLoader], count: int) -> list[list[str]]:
        iterators = [iter(loader) for loader in of]
        return [
            sorted(keys(batch for iterator in iterators if (batch := next(iterator, None)) is not None))
            for _ in range(count)
        ]

    (whole,) = loaders(1)
    want = [sorted(batch["keys"]) for batch in whole]
    two, four, (one,) = loaders(2, workers=1), loaders(4), loaders(1)
    seen = steps(two, 1)
    for loader in four:
        loader.load_state_dict(two[0].state_dict())
    seen += steps(four, 2)
    one.load_state_dict(four[3].state_dict())
    assert seen + steps([one], 1) == want


@pytest.mark.parametrize("bucket_batches", [0, 3])
@pytest.mark.parametrize("shuffle", ["global", "window", "none"])
def test_every_order_has_every_sample_once(
    dataset: RelevanceDataset, shuffle: Shuffle, bucket_batches: int
) -> None:
    loader = RelevanceLoader(dataset, batch_size=8, shuffle=shuffle, window=12, bucket_batches=bucket_batches)
    assert sorted(keys(loader)) == named(range(60))


def test_texts_of_a_bucket_are_of_similar_length(dataset: RelevanceDataset) -> None:
    lengths = dataset.lengths()

    def spread(**options: Any) -> list[float]:  # Any: of a loader
        loader = RelevanceLoader(dataset, batch_size=6, seed=1, **options)
        return [float(np.ptp(lengths[[int(key) for key in batch["keys"]]])) for batch in loader]

    assert np.mean(spread(bucket_batches=10)) < np.mean(spread()) / 3


def test_an_order_over_a_subset(dataset: RelevanceDataset) -> None:
    subset = np.array([3, 50, 8])
    for shuffle in ("global", "window", "none"):
        loader = RelevanceLoader(dataset, batch_size=2, subset=subset, shuffle=shuffle, window=1)
        assert sorted(keys(loader)) == named([3, 8, 50])


@pytest.mark.parametrize("start_method", ["spawn", "fork", "forkserver"])
def test_workers_that_stay_read_the_next_epochs_too(
    dataset: RelevanceDataset, start_method: StartMethod
) -> None:
    if start_method == "fork":
        in_clean_process(read_by_workers_that_stay, dataset, start_method)
    else:
        read_by_workers_that_stay(dataset, start_method)


def read_by_workers_that_stay(dataset: RelevanceDataset, start_method: StartMethod) -> None:
    """Compare epochs that workers read with those that are read without them."""
    options: dict[str, Any] = {"batch_size": 16, "seed": 2}
    plain = RelevanceLoader(dataset, **options)
    reading = Reading(workers=2, start_method=start_method, persistent_workers=True)
    ahead = RelevanceLoader(dataset, reading=reading, **options)
    next(iter(ahead))  # an epoch that is left early
    for epoch in (0, 1):
        for loader in (plain, ahead):
            loader.set_epoch(epoch)
        for one, other in zip(plain, ahead, strict=True):
            assert one["keys"] == other["keys"]
            for name in ("input_ids", "relevance", "content", "labels", "attention_mask"):
                assert torch.equal(by_name(one)[name], by_name(other)[name])
                by_name(other)[name].zero_()  # its owner may write to it


@pytest.mark.parametrize("left_early", [True, False])
def test_a_loader_that_nobody_uses_any_more_ends_its_workers_at_once(
    dataset: RelevanceDataset, left_early: bool
) -> None:
    before = set(multiprocessing.active_children())
    reading = Reading(workers=2, start_method="forkserver", persistent_workers=True)
    loader = RelevanceLoader(dataset, reading=reading, batch_size=16)
    for _ in itertools.islice(loader, 1 if left_early else None):
        assert len(set(multiprocessing.active_children()) - before) == 2
    began = time.monotonic()
    del loader
    assert set(multiprocessing.active_children()) <= before
    assert time.monotonic() - began < 4  # torch waits 5 s for a worker that does not hear it


def test_pinned_memory_is_asked_for_only_where_there_is_a_device(dataset: RelevanceDataset) -> None:
    batch = next(iter(RelevanceLoader(dataset, batch_size=2, reading=Reading(pin_memory=True))))
    assert batch["input_ids"].is_pinned() == torch.cuda.is_available()


@pytest.mark.parametrize(
    ("option", "value"), [("workers", -1), ("prefetch_batches", 0), ("start_method", "thread")]
)
def test_ways_of_reading_that_cannot_be_are_refused_by_name(option: str, value: Any) -> None:
    with pytest.raises(UsageError, match=option):
        Reading(**{option: value})


@pytest.mark.parametrize(
    "sizes", [{"batch_size": 0}, {"batch_size": 8, "group_size": 3}, {"batch_size": 9, "world_size": 2}]
)
def test_sizes_that_do_not_divide_are_refused(dataset: RelevanceDataset, sizes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="batch_size"):
        RelevanceLoader(dataset, **sizes)


@pytest.mark.parametrize(
    ("option", "value"),
    [("shuffle", "windows"), ("ends", "keep"), ("seed", -1), ("window", -1), ("bucket_batches", -2)],
)
def test_options_out_of_range_are_refused_by_name(dataset: RelevanceDataset, option: str, value: Any) -> None:
    with pytest.raises(UsageError, match=option):
        RelevanceLoader(dataset, **{option: value})
