"""Samples end to end, and the padded batch that they make.

Axes: B batch, S head specs, N tokens of all samples, T tokens of the longest sample, C classes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amix.engine.base.padding import padded, token_mask
from amix.loaders.stream.batch import ArrayBatch


@dataclass(frozen=True, kw_only=True)
class FlatBatch:
    """Samples of any lengths without padding.

    lengths: (B,), which sum to N.  input_ids, content, token_type_ids: (N,).  relevance: (N,) or (S, N).
    labels: (B,) class ids or (B, C) class weights.  None = the samples have none.
    """

    keys: list[str]
    lengths: NDArray[np.int64]
    input_ids: NDArray[np.int64]
    content: NDArray[np.bool_] | None
    relevance: NDArray[np.float32] | None
    token_type_ids: NDArray[np.int64] | None
    labels: NDArray[np.int64] | NDArray[np.float32] | None

    def padded(self, pad_id: int) -> ArrayBatch:
        """Return arrays (B, T) or (B, S, T) with `pad_id` behind input_ids and zeros behind the rest."""
        mask_BT = token_mask(self.lengths)
        batch: ArrayBatch = {
            "attention_mask": mask_BT.astype(np.int64),
            "input_ids": padded(self.input_ids, mask_BT, pad_id),
            "keys": self.keys,
        }
        if self.content is not None:
            batch["content"] = padded(self.content, mask_BT)
        if self.relevance is not None:
            rows = [padded(relevance_N, mask_BT) for relevance_N in np.atleast_2d(self.relevance)]
            batch["relevance"] = rows[0] if self.relevance.ndim == 1 else np.stack(rows, axis=1)
        if self.token_type_ids is not None:
            batch["token_type_ids"] = padded(self.token_type_ids, mask_BT)
        if self.labels is not None:
            batch["labels"] = self.labels
        return batch
