"""What saves and continues loaders elsewhere does so with ours: torchdata's own classes, and Accelerate."""

import itertools
import json
import pickle
from collections.abc import Iterator
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import pytest

from amix.engine.base.errors import UsageError
from amix.loaders.stream.dataset import RelevanceDataset
from amix.loaders.stream.loader import RelevanceLoader
from amix.loaders.stream.reading import Reading
from tests.processes import in_clean_process

pytest.importorskip("torchdata", reason="torchdata is in the extra dev")

from torchdata.nodes import IterableWrapper, Loader
from torchdata.stateful_dataloader import StatefulDataLoader

# torchdata 0.11 calls a function that torch 2.13 has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")


def loader(shards: Path, **options: Any) -> RelevanceLoader:  # Any: of a loader
    return RelevanceLoader(RelevanceDataset(shards), batch_size=7, seed=5, **options)


def stateful(shards: Path, workers: int) -> "StatefulDataLoader[Any]":  # Any: of batches
    context = "forkserver" if workers else None
    return StatefulDataLoader(
        loader(shards), batch_size=None, num_workers=workers, multiprocessing_context=context
    )


def keys(batches: Iterator[Any]) -> list[list[str]]:
    return [batch["keys"] for batch in batches]


@pytest.fixture(scope="module")
def epochs(shards: Path) -> list[list[list[str]]]:
    """The keys of every batch of two epochs."""
    plain = loader(shards)
    found = []
    for epoch in (0, 1):
        plain.set_epoch(epoch)
        found.append(keys(iter(plain)))
    assert found[0] != found[1]
    return found


@pytest.mark.parametrize("stop", [0, 4, 9])
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_stateful_data_loader_goes_on_where_it_was_saved(
    shards: Path, epochs: list[list[list[str]]], workers: int, stop: int
) -> None:
    first = stateful(shards, workers)
    first.dataset.set_epoch(1)
    batches = iter(first)
    seen = keys(itertools.islice(batches, stop))
    state = json.loads(json.dumps(first.state_dict()))
    assert seen == epochs[1][:stop]

    second = stateful(shards, workers)
    second.load_state_dict(state)
    assert keys(iter(second)) == epochs[1][stop:]
    second.dataset.set_epoch(0)
    assert keys(iter(second)) == epochs[0]  # the next one is whole


def test_an_epoch_that_was_read_to_its_end_is_followed_by_a_whole_one(
    shards: Path, epochs: list[list[list[str]]]
) -> None:
    first = stateful(shards, 0)
    assert keys(iter(first)) == epochs[0]
    second = stateful(shards, 0)
    second.load_state_dict(first.state_dict())
    assert keys(iter(second)) == epochs[0]


def test_nodes_of_torchdata_go_on_where_they_were_saved(shards: Path, epochs: list[list[list[str]]]) -> None:
    first = Loader(IterableWrapper(loader(shards)))
    seen = keys(itertools.islice(iter(first), 4))
    second = Loader(IterableWrapper(loader(shards)))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert seen + keys(iter(second)) == epochs[0]


@pytest.mark.parametrize("wrapped", [True, False])
def test_accelerate_saves_and_continues_a_loader(
    shards: Path, tmp_path: Path, epochs: list[list[list[str]]], wrapped: bool
) -> None:
    """As a StatefulDataLoader that it prepares, or by itself, as an object with a state."""
    from accelerate import Accelerator
    from accelerate.utils import DataLoaderConfiguration

    def prepared() -> tuple[Accelerator, Any]:
        accelerator = Accelerator(
            cpu=True,
            dataloader_config=DataLoaderConfiguration(use_stateful_dataloader=True, dispatch_batches=False),
        )
        if wrapped:
            return accelerator, accelerator.prepare(stateful(shards, 0))
        own = loader(shards)
        accelerator.register_for_checkpointing(own)
        return accelerator, own

    accelerator, first = prepared()
    seen = keys(itertools.islice(iter(first), 4))
    accelerator.save_state(str(tmp_path / "state"))
    accelerator, second = prepared()
    accelerator.load_state(str(tmp_path / "state"))
    assert seen + keys(iter(second)) == epochs[0]


@pytest.mark.parametrize("start", ["fork", "forkserver"])
def test_workers_of_workers_are_refused(shards: Path, start: str) -> None:
    in_clean_process(have_workers_of_workers_refused, shards, start)


def have_workers_of_workers_refused(shards: Path, start: str) -> None:
    both = StatefulDataLoader(
        loader(shards, reading=Reading(workers=1)),
        batch_size=None,
        num_workers=1,
        multiprocessing_context=start,
    )
    with pytest.raises(UsageError, match=r"Reading\(workers=...\)"):
        next(iter(both))


def test_a_loader_with_workers_reads_the_same_in_another_process(shards: Path) -> None:
    with_workers = loader(shards, reading=Reading(workers=1))
    sent = ForkingPickler.dumps(with_workers)
    expected = keys(iter(with_workers))
    assert keys(iter(pickle.loads(sent))) == expected
