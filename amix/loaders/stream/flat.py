"""Samples end to end, and the padded batch that they make.

Axes: B batch, S head specs, N tokens of all samples, T tokens of the longest sample, C classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ArrayBatch = dict[str, NDArray[Any] | list[str]]


@dataclass(frozen=True)
class FlatBatch:
    """Samples of any lengths without padding.

    lengths: (B,) int64, which sum to N.
    tokens: by name, (N,) or (S, N): input_ids, and what else there is per token.
    labels: (B,) int64, (B, C) float32, or None.
    """

    keys: list[str]
    lengths: NDArray[np.int64]
    tokens: Mapping[str, NDArray[Any]]
    labels: NDArray[Any] | None

    def padded(self, pad_id: int) -> ArrayBatch:
        """Return arrays (B, T) or (B, S, T) with `pad_id` behind input_ids and zeros behind the rest."""
        shape = len(self.lengths), int(self.lengths.max(initial=0))
        mask_BT = np.arange(shape[1]) < self.lengths[:, None]
        batch: ArrayBatch = {"attention_mask": mask_BT.astype(np.int64)}
        for name, flat in self.tokens.items():
            rows = []
            for flat_N in np.atleast_2d(flat):
                padded = np.full(shape, pad_id if name == "input_ids" else 0, flat.dtype)
                padded[mask_BT] = flat_N  # twice as fast as by numbers of places
                rows.append(padded)
            batch[name] = rows[0] if flat.ndim == 1 else np.stack(rows, axis=1)
        if self.labels is not None:
            batch["labels"] = self.labels
        batch["keys"] = self.keys
        return batch
