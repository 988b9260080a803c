"""Samples in, one padded batch of tensors out.

Axes: B batch, S head specs, T tokens of the longest sample, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from amix.loaders.stream.batch import ArrayBatch, Batch
from amix.loaders.stream.flat import FlatBatch


@dataclass(frozen=True)
class Collate:
    """Pads samples of a `RelevanceDataset` on the right, with `pad_id` in input_ids and 0 elsewhere.

    A batch has content, relevance, token types and labels where the samples have them; `Batch` says what each holds.
    """

    pad_id: int

    def __call__(self, samples: Sequence[Mapping[str, Any]]) -> Batch:  # Any: arrays, a label and a key
        """Return the batch of `samples`, which all come from one dataset."""
        first = samples[0]

        def joined(name: str) -> Any:  # noqa: ANN401  the array of that name; its type is in `FlatBatch`
            return np.concatenate([sample[name] for sample in samples], axis=-1)

        flat = FlatBatch(
            keys=[sample["key"] for sample in samples],
            lengths=np.array([len(sample["input_ids"]) for sample in samples]),
            input_ids=joined("input_ids"),
            content=joined("content") if "content" in first else None,
            relevance=joined("relevance") if "relevance" in first else None,
            token_type_ids=joined("token_type_ids") if "token_type_ids" in first else None,
            labels=np.stack([np.asarray(sample["labels"]) for sample in samples])
            if "labels" in first
            else None,
        )
        return as_tensors(flat.padded(self.pad_id))


def as_tensors(batch: ArrayBatch) -> Batch:
    """Return a batch with its arrays as tensors that share their memory."""
    tensors = {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in batch.items()
    }
    return cast(Batch, tensors)  # it has the names of `ArrayBatch`, which are the same
