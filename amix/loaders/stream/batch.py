"""What a batch holds, by name.

Axes: B batch, S head specs, T tokens of the longest sample, C classes.
"""

from typing import NotRequired, TypedDict

from torch import Tensor


class Batch(TypedDict):
    """A padded batch of tensors, as a loader or a collator returns it.

    input_ids, attention_mask, token_type_ids: (B, T) int64.  relevance: (B, T) or (B, S, T) float32, raw.
    content: (B, T) bool, tokens that are not special.  labels: (B,) int64 class ids, or (B, C) float32 class weights.
    keys: the corpus row of each sample, as its shard names it.
    """

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: NotRequired[Tensor]
    relevance: NotRequired[Tensor]
    content: NotRequired[Tensor]
    labels: NotRequired[Tensor]
    keys: NotRequired[list[str]]
