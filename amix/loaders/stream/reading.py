"""Batches read from a data set: in this process when they are asked for, or ahead of use in others."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import torch
from torch.utils.data import DataLoader, Dataset

from amix.engine.base.errors import AmixError, UsageError
from amix.loaders.stream.batch import ArrayBatch
from amix.loaders.stream.dataset import RelevanceDataset
from amix.loaders.stream.order import Numbers

StartMethod = Literal["spawn", "fork", "forkserver"]
Read = tuple[int, ArrayBatch]  # samples asked for, and the batch of those that are not damaged


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a loader reads its batches; none of it changes what is in them.

    workers: processes that read ahead; 0 = read in this one.  prefetch_batches: how far each worker reads ahead.
    start_method: how workers start.  persistent_workers: keep them for the next epoch.
    pin_memory: put tensors in page-locked memory, if there is a CUDA device to copy them to.
    Raises UsageError for options out of range.
    """

    workers: int = 0
    start_method: StartMethod = "spawn"
    persistent_workers: bool = False
    prefetch_batches: int = 2
    pin_memory: bool = False

    def __post_init__(self) -> None:
        methods = get_args(StartMethod)
        if self.start_method not in methods:
            raise UsageError(
                f"start_method {self.start_method!r} is not known. Choose one of {', '.join(methods)}."
            )
        if self.workers < 0:
            raise UsageError(f"workers {self.workers} is negative; 0 reads in this process.")
        if self.prefetch_batches < 1:
            raise UsageError(f"prefetch_batches is {self.prefetch_batches}; it must be at least 1.")


class Reader(Protocol):
    """What reads batches."""

    def read(self, turns: Iterator[Numbers]) -> Iterator[Read]:
        """Yield the batch of each item of `turns`."""


def open_reader(dataset: RelevanceDataset, reading: Reading) -> Reader:
    """Return what reads batches of `dataset`, with workers if `reading` has any."""
    if not reading.workers:
        return _Here(dataset)
    turns = _Turns()
    loader: DataLoader[Any] = DataLoader(  # Any: torch has no type for whole batches
        _Batches(dataset),
        batch_size=None,  # a whole batch is read at once
        sampler=turns,
        # Arrays, not tensors: a worker that ends while the thread of its queue puts a tensor into shared memory
        # aborts, because Python 3.11 unwinds that thread through C++ frames which do not allow it.
        collate_fn=_unchanged,  # type: ignore[arg-type]  # torch expects a list of samples
        num_workers=reading.workers,
        multiprocessing_context=reading.start_method,
        persistent_workers=reading.persistent_workers,
        prefetch_factor=reading.prefetch_batches,
        generator=torch.Generator(),  # or torch would draw a seed for its workers from the global one
    )
    return _Ahead(loader, turns, dataset, reading)


@dataclass(frozen=True)
class _Here:
    """Reads in this process."""

    dataset: RelevanceDataset

    def read(self, turns: Iterator[Numbers]) -> Iterator[Read]:
        for numbers in turns:
            yield len(numbers), self.dataset.batch(numbers)


class _Turns:
    """A sampler that is told before each iteration what there is to read."""

    coming: Iterator[Numbers] = iter(())

    def __iter__(self) -> Iterator[Numbers]:
        return self.coming


@dataclass(frozen=True)
class _Ahead:
    """Reads in workers."""

    loader: DataLoader[Any]  # Any: torch has no type for whole batches
    turns: _Turns
    dataset: RelevanceDataset
    reading: Reading

    def __reduce__(self) -> tuple[Callable[..., Reader], tuple[RelevanceDataset, Reading]]:
        # Another process starts workers of its own. The state of torch's generator would not get there: it is shared
        # memory, which cannot be mapped a second time once this process has let go of it.
        return open_reader, (self.dataset, self.reading)

    def read(self, turns: Iterator[Numbers]) -> Iterator[Read]:
        self.turns.coming = turns
        return map(_read, self.loader)


class _Batches(Dataset[Read | AmixError]):
    """A data set whose items are batches, named by their sample numbers, or what is wrong with one of them."""

    def __init__(self, dataset: RelevanceDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, numbers: Numbers) -> Read | AmixError:
        try:
            return len(numbers), self._dataset.batch(numbers)
        except AmixError as problem:  # torch would write a traceback of the worker into its sentence
            return problem


def _unchanged(read: Read | AmixError) -> Read | AmixError:
    return read


def _read(read: Read | AmixError) -> Read:
    if isinstance(read, AmixError):
        raise read
    return read
