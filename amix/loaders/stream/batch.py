"""What a batch holds, by name: as tensors, and as the arrays that they are made of.

Axes: B batch, S head specs, T tokens of the longest sample, C classes.
"""

from typing import TYPE_CHECKING, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # reading shards needs no torch
    from torch import Tensor


class Batch(TypedDict):
    """A padded batch of tensors, as a loader or a collator returns it.

    input_ids, attention_mask, token_type_ids: (B, T) int64.  relevance: (B, T) or (B, S, T) float32, raw.
    content: (B, T) bool, tokens that are not special.  labels: (B,) int64 class ids, or (B, C) float32 class weights.
    keys: the corpus row of each sample, as its shard names it.
    """

    input_ids: "Tensor"
    attention_mask: "Tensor"
    token_type_ids: NotRequired["Tensor"]
    relevance: NotRequired["Tensor"]
    content: NotRequired["Tensor"]
    labels: NotRequired["Tensor"]
    keys: NotRequired[list[str]]


class ArrayBatch(TypedDict):
    """A `Batch` before its arrays become tensors, as `RelevanceDataset.batch` returns it."""

    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    token_type_ids: NotRequired[NDArray[np.int64]]
    relevance: NotRequired[NDArray[np.float32]]
    content: NotRequired[NDArray[np.bool_]]
    labels: NotRequired[NDArray[np.int64] | NDArray[np.float32]]
    keys: list[str]
