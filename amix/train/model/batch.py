"""Batches on the device that a model is on."""

from collections.abc import Mapping
from typing import cast

import torch

from amix.engine.base.sending import sent
from amix.loaders.stream.batch import Batch
from amix.loaders.stream.collate import as_tensors
from amix.loaders.stream.dataset import RelevanceDataset


def to_device(batch: Mapping[str, object], device: torch.device) -> Batch:
    """Return the batch's tensors on `device`; the keys are left out."""
    moved = {name: sent(value, device) for name, value in batch.items() if isinstance(value, torch.Tensor)}
    return cast(Batch, moved)


def shortest_and_longest(dataset: RelevanceDataset) -> Batch:
    """Return the shortest and the longest text of a data set as a batch."""
    lengths = dataset.lengths()
    return as_tensors(dataset.batch([int(lengths.argmin()), int(lengths.argmax())]))
