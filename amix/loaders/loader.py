"""Shards in, batches out: in an order of its own, for any number of ranks and workers, resumable."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from amix.engine.errors import ShardError, UsageError
from amix.engine.publish import sha256_bytes
from amix.loaders.collate import Collate, as_tensors
from amix.loaders.dataset import RelevanceDataset
from amix.loaders.order import Shuffle, order

Batch = dict[str, Tensor | list[str]]


class RelevanceLoader:
    """Iterates over a `RelevanceDataset` in padded batches of tensors (see `Collate` for what they hold).

    batch_size: samples per global batch, all ranks together.
    group_size: samples of a global batch that stay together; a rank gets whole groups. None = batch_size / world_size;
        give it to resume under another number of ranks, which needs the same groups.
    subset: sample numbers to use in place of all of them; the order is drawn over these.
    drop_last: leave out a last batch that is not full.
    workers: processes that read ahead; 0 reads in this one.
    Raises UsageError for sizes that do not divide. `keys` of a batch name the rows it holds.
    """

    def __init__(
        self,
        dataset: RelevanceDataset,
        *,
        batch_size: int = 32,
        seed: int = 0,
        shuffle: Shuffle = "global",
        rank: int = 0,
        world_size: int = 1,
        group_size: int | None = None,
        subset: np.ndarray[Any, np.dtype[np.int64]] | None = None,
        drop_last: bool = False,
        workers: int = 0,
    ) -> None:
        if batch_size < 1 or not 0 <= rank < world_size:
            raise UsageError(
                f"batch_size {batch_size}, rank {rank} of {world_size}: sizes and ranks must be in range."
            )
        self.group_size = group_size or batch_size // world_size
        if (
            self.group_size < 1
            or batch_size % self.group_size
            or (batch_size // self.group_size) % world_size
        ):
            raise UsageError(
                f"batch_size {batch_size} cannot be split into groups of {self.group_size} for {world_size} ranks; "
                "batch_size must be a multiple of group_size x ranks."
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self._seed = seed
        self._shuffle: Shuffle = shuffle
        self._rank, self._world_size = rank, world_size
        self._subset = subset
        self._drop_last = drop_last
        self._workers = workers
        self._epoch = 0
        self._delivered = 0  # batches of this epoch that the caller has got
        self._resumed = False

    def __len__(self) -> int:
        """Batches per epoch."""
        whole, rest = divmod(self._samples, self.batch_size)
        # Every rank delivers the same number of batches, or collective operations would wait for ever: a rest that
        # does not reach the last rank is left out.
        enough = rest > (self._world_size - 1) * (self.batch_size // self._world_size)
        return whole + (enough and not self._drop_last)

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
            if state.get(name) != value:
                raise ShardError(
                    f"the saved loader state has {name} = {state.get(name)}, this loader {value}. Resume with what the "
                    "run was started with, or start a new run."
                )
        self._epoch, self._delivered, self._resumed = int(state["epoch"]), int(state["batches"]), True

    def __iter__(self) -> Iterator[Batch]:
        if not self._resumed:
            self._delivered = 0
        self._resumed = False
        loader: DataLoader[Any] = DataLoader(
            self.dataset,  # type: ignore[arg-type]  # torch asks for its own base class and uses two methods
            batch_sampler=_Batches(self._batches(self._delivered)),
            # Arrays, since a worker that ends while its queue's thread is turning a tensor into shared memory aborts:
            # Python 3.11 unwinds that thread through C++ frames which do not allow it.
            collate_fn=Collate(self.dataset.manifest.pad_id).arrays,
            num_workers=self._workers,
            multiprocessing_context="spawn" if self._workers else None,
            generator=torch.Generator(),  # or torch would draw a seed for its workers from the global one
        )
        for batch in loader:
            self._delivered += 1
            yield as_tensors(batch)

    @property
    def _samples(self) -> int:
        return len(self.dataset) if self._subset is None else len(self._subset)

    def _identity(self) -> dict[str, Any]:
        return {
            "manifest": self.dataset.manifest.sha256,
            "samples": self._samples,
            "subset": None if self._subset is None else sha256_bytes(self._subset.astype("<i8").tobytes()),
            "seed": self._seed,
            "shuffle": self._shuffle,
            "batch_size": self.batch_size,
            "group_size": self.group_size,
            "drop_last": self._drop_last,
        }

    def _batches(self, first: int) -> list[list[int]]:
        """Return this rank's sample numbers of each batch of the epoch, from batch `first` on."""
        numbers = order(self._samples, self._seed, self._epoch, self._shuffle)
        if self._subset is not None:
            numbers = self._subset[numbers]
        share = self.batch_size // self._world_size  # a whole number of groups
        batches = []
        for begin in range(first * self.batch_size, len(self) * self.batch_size, self.batch_size):
            whole = numbers[begin : begin + self.batch_size]
            batches.append(whole[self._rank * share : (self._rank + 1) * share].tolist())
        return batches


class _Batches:
    """A batch sampler over a list; torch wants something with a length that can be iterated."""

    def __init__(self, batches: list[list[int]]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)
