"""Samples in, one padded batch of tensors out.

Axes: B batch, S head specs, T tokens of the longest sample, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

AnyArray = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Collate:
    """Pads samples of a `RelevanceDataset` on the right.

    Returns input_ids, attention_mask (B, T) int64; relevance (B, T) or (B, S, T) float32 where the samples have it;
    content (B, T) bool; labels (B,) int64 or (B, C) float32; token_type_ids (B, T) int64 where present; keys.
    Padding: `pad_id` in input_ids, 0 elsewhere.
    """

    pad_id: int

    def __call__(self, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor | list[str]]:
        """Return the batch of `samples`, which all come from one dataset."""
        return as_tensors(self.arrays(samples))

    def arrays(self, samples: Sequence[dict[str, Any]]) -> dict[str, AnyArray | list[str]]:
        """Return the same batch in numpy arrays, as a process that reads ahead hands it over."""
        lengths = np.array([len(sample["input_ids"]) for sample in samples])
        mask_BT = np.arange(lengths.max()) < lengths[:, None]
        batch: dict[str, AnyArray | list[str]] = {"attention_mask": mask_BT.astype(np.int64)}
        for name, fill in (
            ("input_ids", self.pad_id),
            ("relevance", 0),
            ("content", False),
            ("token_type_ids", 0),
        ):
            if name in samples[0]:
                # The token axis first, so that one mask serves arrays of any further axes.
                flat = np.concatenate([sample[name].T for sample in samples])
                padded = np.full((*mask_BT.shape, *flat.shape[1:]), fill, flat.dtype)
                padded[mask_BT] = flat
                batch[name] = np.moveaxis(padded, 1, -1)
        if "labels" in samples[0]:
            batch["labels"] = np.stack([np.asarray(sample["labels"]) for sample in samples])
        batch["keys"] = [sample["key"] for sample in samples]
        return batch


def as_tensors(batch: dict[str, AnyArray | list[str]]) -> dict[str, Tensor | list[str]]:
    """Return a batch with its arrays as tensors that share their memory."""
    return {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in batch.items()
    }
