"""Shards in, batches out: in an order of its own, for any number of ranks and workers, resumable."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from amix.engine.base.errors import ShardError, UsageError
from amix.engine.base.publish import sha256_bytes
from amix.loaders.stream.batch import Batch
from amix.loaders.stream.collate import as_tensors, pinned
from amix.loaders.stream.dataset import RelevanceDataset
from amix.loaders.stream.flat import ArrayBatch
from amix.loaders.stream.order import WINDOW, Numbers, Shuffle, bucketed, order

Ends = Literal["exact", "drop", "pad"]
_LOG = logging.getLogger(__name__)
_Read = tuple[int, ArrayBatch]  # samples asked for, and the batch of those that are not damaged


class RelevanceLoader:
    """Iterates over a `RelevanceDataset` in padded batches of tensors (see `Collate` for what they hold).

    batch_size: samples per global batch, all ranks together.
    shuffle: `global` = a uniform permutation of all samples; `window` = one that keeps few shards in use at a time,
        for caches that are not on a local disk; `none` = corpus order. `window` counts samples.
    bucket_batches: batches among which samples are sorted by length, so that texts of one batch are of similar
        length: pairs mix better and pad less. 0 = not. 50 or more leave little of the order of lengths.
    ends: what becomes of the samples that do not fill a last batch. `exact` = a smaller one, every sample once; a rank
        without a row in it has one batch fewer. `drop` = left out. `pad` = filled up with the first of the epoch.
    group_size: samples of a global batch that stay together; a rank gets whole groups. None = batch_size / world_size;
        give it to resume under another number of ranks, which needs the same groups.
    subset: sample numbers to use in place of all of them; the order is drawn over these.
    workers: processes that read ahead, `prefetch_batches` each; 0 reads in this one. `start_method` is how they start;
        with `persistent_workers` they stay for the next epoch.
    pin_memory: put tensors in page-locked memory, where there is a CUDA device to copy them to.
    skipped: damaged samples that were left out of batches so far, where the data set skips them; a batch without any
        sample is left out too.
    Raises UsageError for sizes that do not divide and options out of range. `keys` of a batch name the rows it holds.
    """

    def __init__(
        self,
        dataset: RelevanceDataset,
        *,
        batch_size: int = 32,
        seed: int = 0,
        shuffle: Shuffle = "global",
        window: int = WINDOW,
        bucket_batches: int = 0,
        ends: Ends = "exact",
        rank: int = 0,
        world_size: int = 1,
        group_size: int | None = None,
        subset: Numbers | None = None,
        workers: int = 0,
        start_method: Literal["spawn", "fork", "forkserver"] = "spawn",
        persistent_workers: bool = False,
        prefetch_batches: int = 2,
        pin_memory: bool = False,
    ) -> None:
        self.dataset = dataset
        self.skipped = 0
        self.batch_size = batch_size
        self.group_size = _group_size(batch_size, group_size, rank, world_size)
        for name, value, known in (("shuffle", shuffle, get_args(Shuffle)), ("ends", ends, get_args(Ends))):
            if value not in known:
                raise UsageError(f"{name} {value!r} is not known. Choose one of {', '.join(known)}.")
        for name, number in (("seed", seed), ("window", window), ("bucket_batches", bucket_batches)):
            if number < 0:
                raise UsageError(f"{name} {number} is negative; it counts from 0.")
        if shuffle == "global" and not dataset.fits:
            _LOG.warning(
                f"{dataset.folder}: a global shuffle needs all shards at all times, and the cache for fetched ones is "
                "smaller. shuffle='window' needs few at a time; or raise AMIX_CACHE_BYTES."
            )
        self._seed = seed
        self._shuffle: Shuffle = shuffle
        self._window = window
        self._bucket_batches = bucket_batches
        self._ends: Ends = ends
        self._rank, self._world_size = rank, world_size
        self._subset = subset
        self._pin_memory = pin_memory and torch.cuda.is_available()
        self._epoch = 0
        self._delivered = 0  # batches of this epoch that the caller has got
        self._resumed = False
        self._workers: DataLoader[Any] | None = None
        if workers:
            self._workers = DataLoader(
                _Batches(dataset),
                batch_size=None,  # a whole batch is read at once
                sampler=_Calls(self._turns),
                # Arrays, since a worker that ends while its queue's thread is turning a tensor into shared memory
                # aborts: Python 3.11 unwinds that thread through C++ frames which do not allow it.
                collate_fn=_unchanged,  # type: ignore[arg-type]  # torch means a list of samples
                num_workers=workers,
                multiprocessing_context=start_method,
                persistent_workers=persistent_workers,
                prefetch_factor=prefetch_batches,
                generator=torch.Generator(),  # or torch would draw a seed for its workers from the global one
            )

    def __len__(self) -> int:
        """Batches per epoch of this rank."""
        last = self.global_batches - 1
        return last + (self.rows(last)[0] > 0) if last >= 0 else 0

    @property
    def global_batches(self) -> int:
        """Batches per epoch, of which a rank may lack the last (see `ends`)."""
        whole, rest = divmod(self._samples, self.batch_size)
        return whole + (rest > 0 and self._ends != "drop")

    def rows(self, batch: int) -> tuple[int, int]:
        """Return how many samples batch number `batch` of an epoch has on this rank, and on all ranks."""
        everywhere = self.batch_size
        if self._ends == "exact":
            everywhere = min(everywhere, self._samples - batch * self.batch_size)
        return max(0, min(self._share, everywhere - self._rank * self._share)), everywhere

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration follows, from its beginning."""
        self._epoch, self._delivered, self._resumed = epoch, 0, False

    def state_dict(self) -> dict[str, Any]:
        """Return small JSON that says where the iteration is: after the last batch delivered."""
        return {**self._identity(), "epoch": self._epoch, "batches": self._delivered}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly after the last batch that the saved loader delivered, under any number of ranks or workers.

        Raises ShardError naming the field when the state is of another cache, seed, batch size or order.
        """
        for name, value in self._identity().items():
            if name not in state or state[name] != value:
                raise ShardError(
                    f"the saved loader state has {name} = {state.get(name)}, this loader {value}. Resume with what the "
                    "run was started with, or start a new run."
                )
        self._epoch, self._delivered, self._resumed = int(state["epoch"]), int(state["batches"]), True

    def __iter__(self) -> Iterator[Batch]:
        if not self._resumed:
            self._delivered = 0
        self._resumed = False
        here = _Batches(self.dataset)
        reads = (here[numbers] for numbers in self._turns()) if self._workers is None else self._workers
        for wanted, arrays in reads:
            self._delivered += 1
            self.skipped += wanted - len(arrays["keys"])
            if not arrays["keys"]:
                continue
            batch = as_tensors(arrays)
            if self._pin_memory:
                batch = pinned(batch)
            yield batch

    @property
    def _samples(self) -> int:
        return len(self.dataset) if self._subset is None else len(self._subset)

    @property
    def _share(self) -> int:
        """Samples of a whole batch that this rank gets: a whole number of groups."""
        return self.batch_size // self._world_size

    def _identity(self) -> dict[str, Any]:
        return {
            "manifest": self.dataset.manifest.sha256,
            "samples": self._samples,
            "subset": None if self._subset is None else sha256_bytes(self._subset.astype("<i8").tobytes()),
            "seed": self._seed,
            "shuffle": self._shuffle,
            "window": self._window if self._shuffle == "window" else None,
            "bucket_batches": self._bucket_batches,
            "batch_size": self.batch_size,
            "group_size": self.group_size,
            "ends": self._ends,
        }

    def _numbers(self) -> Numbers:
        """Return the sample numbers of the epoch, batch after batch, for all ranks."""
        shards = None
        if self._shuffle == "window":
            shards = self.dataset.shard_numbers()
            shards = shards if self._subset is None else shards[self._subset]
        numbers = order(
            self._samples, self._seed, self._epoch, self._shuffle, shards=shards, window=self._window
        )
        if self._subset is not None:
            numbers = self._subset[numbers]
        if self._bucket_batches:
            numbers = bucketed(
                numbers,
                self.dataset.lengths(),
                self._seed,
                self._epoch,
                batch_size=self.batch_size,
                batches=self._bucket_batches,
            )
        rest = len(numbers) % self.batch_size
        if rest and self._ends == "drop":
            return numbers[:-rest]
        if rest and self._ends == "pad":
            return np.resize(numbers, len(numbers) - rest + self.batch_size)  # begins anew at its end
        return numbers

    def _turns(self) -> Iterator[Numbers]:
        """Yield this rank's sample numbers of each batch that is still to come, and have their shards fetched."""
        numbers = self._numbers()
        with self.dataset.fetching(self._parts(numbers)) as reached:
            for part in self._parts(numbers):
                reached(part)
                yield part

    def _parts(self, numbers: Numbers) -> Iterator[Numbers]:
        for batch in range(self._delivered, len(self)):
            begin = batch * self.batch_size + self._rank * self._share
            yield numbers[begin : begin + self._share]


def _group_size(batch_size: int, group_size: int | None, rank: int, world_size: int) -> int:
    if batch_size < 1 or not 0 <= rank < world_size:
        raise UsageError(
            f"batch_size {batch_size}, rank {rank} of {world_size}: sizes and ranks must be in range."
        )
    size = batch_size // world_size if group_size is None else group_size
    if size < 1 or batch_size % size or (batch_size // size) % world_size:
        raise UsageError(
            f"batch_size {batch_size} cannot be split into groups of {size} for {world_size} ranks; "
            "batch_size must be a multiple of group_size x ranks."
        )
    return size


class _Batches(Dataset[_Read]):
    """A data set whose items are batches, named by their sample numbers."""

    def __init__(self, dataset: RelevanceDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, numbers: Numbers) -> _Read:
        return len(numbers), self._dataset.batch(numbers)


@dataclass(frozen=True)
class _Calls:
    """A sampler that asks anew, at the beginning of each iteration, what there is to read."""

    turns: Callable[[], Iterator[Numbers]]

    def __iter__(self) -> Iterator[Numbers]:
        return self.turns()


def _unchanged(read: _Read) -> _Read:
    return read
