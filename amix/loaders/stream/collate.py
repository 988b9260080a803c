"""Samples in, one padded batch of tensors out.

Axes: B batch, S head specs, T tokens of the longest sample, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from amix.loaders.stream.batch import Batch
from amix.loaders.stream.flat import ArrayBatch, FlatBatch

_PER_TOKEN = ("input_ids", "relevance", "content", "token_type_ids")


@dataclass(frozen=True)
class Collate:
    """Pads samples of a `RelevanceDataset` on the right.

    Returns input_ids, attention_mask (B, T) int64; relevance (B, T) or (B, S, T) float32 where the samples have it;
    content (B, T) bool; labels (B,) int64 or (B, C) float32; token_type_ids (B, T) int64 where present; keys.
    Padding: `pad_id` in input_ids, 0 elsewhere.
    """

    pad_id: int

    def __call__(self, samples: Sequence[Mapping[str, Any]]) -> Batch:
        """Return the batch of `samples`, which all come from one dataset."""
        names = [name for name in _PER_TOKEN if name in samples[0]]
        labels = [np.asarray(sample["labels"]) for sample in samples if "labels" in sample]
        flat = FlatBatch(
            [sample["key"] for sample in samples],
            np.array([len(sample["input_ids"]) for sample in samples]),
            {name: np.concatenate([sample[name] for sample in samples], axis=-1) for name in names},
            np.stack(labels) if labels else None,
        )
        return as_tensors(flat.padded(self.pad_id))


def as_tensors(batch: ArrayBatch) -> Batch:
    """Return a batch with its arrays as tensors that share their memory."""
    tensors = {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in batch.items()
    }
    return cast(Batch, tensors)


def pinned(batch: Batch) -> Batch:
    """Return the batch with its tensors in page-locked memory."""
    locked = {
        name: value.pin_memory() if isinstance(value, Tensor) else value for name, value in batch.items()
    }
    return cast(Batch, locked)
