"""Which texts of a unit go through the encoder together: a function of their lengths, encoder and kind of device.

Never of the machine: on a GPU the last bits of a text's relevance depend on the shape of its batch.

Axes: B batch, T tokens.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from amix.engine.base.padding import padded, token_mask
from amix.engine.extractor.folder import Backend, Extractor
from amix.engine.extractor.runner import Batch
from amix.loaders.precompute.tokenize import Encoded

# Small enough for the score tensors of a layer to stay in the processor's caches, large enough for fast products.
MAX_TOKENS = 2048  # rows x longest
MAX_SCORES = 2**18  # rows x longest^2, per head

# Products of so many rows fill a large GPU, and a start of a kernel is short beside them. The attention maps of a batch
# fit into 4 GiB, which leaves room on a card of 8 GB. Chosen by counting, not measured.
GPU_TOKENS = 2**15
GPU_MAP_BYTES = 2**32
# A step of softmax reads a layer's maps and writes them; in float32, which half precision is reduced in too.
_IN_WORK = 2 * 4
# Bytes for each token: a few times the widest vectors of a base-size encoder, in float32.
_ACTIVATIONS = 2**15
_CONTEXT = 6 * 10**8  # bytes that CUDA and its libraries take in each process


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How large a batch may be. tokens: rows x longest.  scores: rows x longest^2, for each head."""

    tokens: int = MAX_TOKENS
    scores: int = MAX_SCORES

    @classmethod
    def of(cls, extractor: Extractor, device: str, backend: Backend = "onnxruntime") -> "Budget":
        """Return the budget for a kind of device: `cpu` or `cuda`. Equal on all machines."""
        if device == "cpu":
            return cls()
        return cls(tokens=GPU_TOKENS, scores=GPU_MAP_BYTES // max(1, _map_bytes(extractor, backend)))

    def largest(self, max_length: int) -> tuple[tuple[int, int], ...]:
        """Return shapes (rows, tokens) such that no tensor of any batch within this budget is larger than theirs."""
        tokens = min(max_length, math.ceil(self.scores / self.tokens))  # here both limits are reached
        shapes = [(math.ceil(self.tokens / tokens), tokens)]
        if max_length**2 > self.scores:  # one text always fits
            shapes.append((1, max_length))
        return tuple(shapes)


def gpu_bytes(extractor: Extractor, budget: Budget, max_length: int, backend: Backend = "onnxruntime") -> int:
    """Return about how many bytes of a GPU's memory a worker needs, for its largest batch."""
    score = _map_bytes(extractor, backend)
    weights = sum(path.stat().st_size for path in extractor.folder.glob("model.*"))
    return (
        _CONTEXT
        + weights
        + max(rows * tokens * (tokens * score + _ACTIVATIONS) for rows, tokens in budget.largest(max_length))
    )


def _map_bytes(extractor: Extractor, backend: Backend) -> int:
    """Return bytes for each score: maps of all heads to be reduced, which may wait for it, and of a layer in work."""
    if backend == "triton":
        return 0  # it writes no map
    per_layer = max(Counter(layer for layer, _ in extractor.heads).values())
    width = 2 if extractor.dtype == "float16" else 4
    return len(extractor.heads) * width + per_layer * _IN_WORK


def length_batches(lengths: Sequence[int], budget: Budget | None = None) -> Iterator[list[int]]:
    """Yield positions in batches of similar length, shortest first; every position once.

    Each batch is within the budget, by default the CPU's; one text always fits.
    """
    limit = budget or Budget()
    batch: list[int] = []
    for position in sorted(range(len(lengths)), key=lengths.__getitem__):
        longest = lengths[position]  # ascending, so the newest is the longest
        rows = len(batch) + 1
        if batch and (rows * longest > limit.tokens or rows * longest * longest > limit.scores):
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch


def collated(texts: Sequence[Encoded]) -> Batch:
    """Return ids, mask and token types (B, T) of these texts, padded on the right."""
    mask_BT = token_mask(np.array([len(text.ids) for text in texts]))
    ids_BT = padded(np.concatenate([text.ids for text in texts]), mask_BT)
    types = [text.token_type_ids for text in texts if text.token_type_ids is not None]
    types_BT = padded(np.concatenate(types), mask_BT) if types else np.zeros_like(ids_BT)
    return Batch(ids_BT, mask_BT.astype(np.int64), types_BT)
