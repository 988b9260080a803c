"""Shards in, batches out: in an order drawn for each epoch, for any number of ranks and workers, resumable."""

import logging
from collections.abc import Iterator
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from amix.engine.base.errors import ShardError, UsageError
from amix.engine.base.publish import sha256_bytes
from amix.loaders.stream.batch import Batch
from amix.loaders.stream.collate import as_tensors
from amix.loaders.stream.dataset import RelevanceDataset
from amix.loaders.stream.order import WINDOW, Numbers, Shuffle, bucketed, is_keyed, order
from amix.loaders.stream.permutation import KeyedPermutation
from amix.loaders.stream.reading import Reading, open_reader

__all__ = ["Ends", "Reading", "RelevanceLoader"]

Ends = Literal["exact", "drop", "pad"]
_LOG = logging.getLogger(__name__)


class RelevanceLoader(IterableDataset[Batch]):
    """Iterates over a `RelevanceDataset` in padded batches of tensors.

    It is a stateful iterable, as torchdata calls it: `StatefulDataLoader(loader, batch_size=None)` saves and continues
    it, and with workers of its own each of them reads its share of the batches.

    batch_size: samples per global batch, all ranks together.
    shuffle: `global` = a uniform permutation of all samples; `window` = one that needs few shards at a time, for
        caches that are not on a local disk; `none` = corpus order.  window: how many samples `window` mixes.
    bucket_batches: sort this many batches' samples by length, so that the texts of a batch are of similar length. Then
        pairs mix better, and there is less padding. 0 = do not sort. With 50 or more, little of the order by length is
        left from one batch to the next.
    ends: what happens to samples that do not fill the last batch. `exact` = a smaller batch, so that every sample
        comes once; a rank without a sample in it has one batch fewer. `drop` = they are left out. `pad` = the batch
        is filled up with the first samples of the epoch.
    group_size: samples of a global batch that stay together; a rank gets whole groups. None = batch_size / world_size;
        give it to resume under another number of ranks, which needs the same groups.
    subset: sample numbers to use instead of all; the order is drawn over these.
    reading: processes that read ahead, and page-locked memory; None = read in this process.
    skipped: damaged samples that were left out of batches so far, if the data set skips them; a batch of damaged
        samples alone is left out too.
    Raises UsageError for sizes that do not divide and options out of range. `keys` of a batch name its samples.
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
        reading: Reading | None = None,
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
                raise UsageError(f"{name} {number} is negative; give 0 or more.")
        if shuffle == "global" and not dataset.fits:
            _LOG.warning(
                f"{dataset.folder}: a global shuffle needs all shards all the time, and they do not fit into the local "
                "store of fetched shards. Use shuffle='window', which needs few at a time, or raise AMIX_CACHE_BYTES."
            )
        self._seed = seed
        self._shuffle: Shuffle = shuffle
        self._window = window
        self._bucket_batches = bucket_batches
        self._ends: Ends = ends
        self._rank, self._world_size = rank, world_size
        self._subset = subset
        self._epoch = 0
        self._delivered = 0  # batches of this epoch that the caller has got
        self._resumed = False
        reading = reading or Reading()
        self._pin_memory = reading.pin_memory and torch.cuda.is_available()
        self._has_workers = reading.workers > 0
        self._reader = open_reader(dataset, reading)

    def __len__(self) -> int:
        """Batches per epoch of this rank."""
        last = self.global_batches - 1
        return last + (self.row_counts(last)[0] > 0) if last >= 0 else 0

    @property
    def global_batches(self) -> int:
        """Batches per epoch, of which a rank may lack the last (see `ends`)."""
        whole, rest = divmod(self._samples, self.batch_size)
        return whole + (rest > 0 and self._ends != "drop")

    def row_counts(self, batch: int) -> tuple[int, int]:
        """Return how many samples batch number `batch` of an epoch has on this rank, and on all ranks."""
        everywhere = self.batch_size
        if self._ends == "exact":
            everywhere = min(everywhere, self._samples - batch * self.batch_size)
        return max(0, min(self._share, everywhere - self._rank * self._share)), everywhere

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration follows, from its beginning."""
        self._epoch, self._delivered, self._resumed = epoch, 0, False

    def state_dict(self) -> dict[str, Any]:  # Any: JSON
        """Return small JSON that says where the iteration is: after the last batch delivered."""
        return {**self._identity(), "epoch": self._epoch, "batches": self._delivered}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # Any: JSON
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
        # Not a generator: what to deliver is settled here, also for an iterator that nobody asks for a batch.
        self._delivered, self._resumed = (self._delivered if self._resumed else 0), False
        first = self._delivered
        worker = get_worker_info()
        if worker is None:
            return self._batches(range(first, len(self)))
        if self._has_workers:
            raise UsageError(
                "a worker cannot have workers. Give Reading(workers=...) to the RelevanceLoader, or num_workers to "
                "what it is passed to, not both."
            )
        # Batches are asked of the workers in turn.
        first += (worker.id - first) % worker.num_workers
        return self._batches(range(first, len(self), worker.num_workers))

    def _batches(self, numbers: range) -> Iterator[Batch]:
        for number, (wanted, arrays) in zip(numbers, self._reader.read(self._turns(numbers)), strict=True):
            self._delivered = number + 1
            self.skipped += wanted - len(arrays["keys"])
            if not arrays["keys"]:
                continue
            batch = as_tensors(arrays)
            yield _pinned(batch) if self._pin_memory else batch

    @property
    def _samples(self) -> int:
        return len(self.dataset) if self._subset is None else len(self._subset)

    @property
    def _share(self) -> int:
        """Samples of a whole batch that this rank gets: a whole number of groups."""
        return self.batch_size // self._world_size

    def _identity(self) -> dict[str, object]:
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
            # An older state of so many samples is of an order that was drawn as a whole.
            **({"order": "keyed"} if is_keyed(self._samples, self._shuffle) else {}),
        }

    def _numbers(self) -> Numbers | KeyedPermutation:
        """Return the sample numbers of the epoch, batch after batch, for all ranks."""
        shards = None
        if self._shuffle == "window":
            shards = self.dataset.shard_numbers()
            shards = shards if self._subset is None else shards[self._subset]
        numbers = order(
            self._samples, self._seed, self._epoch, self._shuffle, shards=shards, window=self._window
        )
        if self._subset is not None:
            numbers = self._subset[numbers[:]]
        if self._bucket_batches:
            numbers = bucketed(
                numbers[:],
                self.dataset.lengths(),
                self._seed,
                self._epoch,
                batch_size=self.batch_size,
                batches=self._bucket_batches,
            )
        return numbers

    def _turns(self, batches: range) -> Iterator[Numbers]:
        """Yield this rank's sample numbers of each of `batches`, and have their shards fetched."""
        first, size = self._rank * self._share, self.batch_size
        begins = range(batches.start * size + first, batches.stop * size + first, batches.step * size)
        return _fetched(self.dataset, self._numbers(), begins, self._share, self._ends == "pad")


def _fetched(
    dataset: RelevanceDataset,
    numbers: Numbers | KeyedPermutation,
    begins: range,
    size: int,
    fills_up: bool,
) -> Iterator[Numbers]:
    """Yield `size` numbers from each of `begins` on, and have their shards fetched.

    Not a method: it must not hold the loader. A loader that holds itself through its workers is freed only when Python
    collects circles of references, and its workers then are not told to end: torch waits 5 s for each.
    """

    def part(begin: int) -> Numbers:
        held = numbers[begin : begin + size]
        if len(held) == size or not fills_up:
            return held
        # The batch is filled up with the first samples again.
        return np.array([numbers[place % len(numbers)] for place in range(begin, begin + size)], np.int64)

    with dataset.fetching(map(part, begins)) as reached:
        for begin in begins:
            batch = part(begin)
            reached(batch)
            yield batch


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


def _pinned(batch: Batch) -> Batch:
    pinned = {
        name: value.pin_memory() if isinstance(value, Tensor) else value for name, value in batch.items()
    }
    return cast(Batch, pinned)  # the same names
