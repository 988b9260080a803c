"""The texts that sessions and encoders are timed on, as token ids in batches of similar length.

Axes: B batch, T tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measuring import samples
from numpy.typing import NDArray

from amix.engine.base.padding import padded, token_mask
from amix.loaders.corpus import Row
from amix.loaders.precompute.batching import Budget, length_batches
from amix.loaders.precompute.tokenize import TextEncoder
from gpu.journal import Journal
from gpu.scale import Scale

Ids = NDArray[np.int64]
Batch = tuple[Ids, Ids]  # ids and mask, (B, T) each


@dataclass(frozen=True, kw_only=True)
class Texts:
    """lengths: tokens of each text.  batches: all texts, the shortest first."""

    lengths: list[int]
    batches: list[Batch]

    @property
    def tokens(self) -> int:
        """Tokens of all texts, padding not counted."""
        return sum(self.lengths)

    @property
    def largest(self) -> list[Batch]:
        """Return the batches that need the most memory: for attention maps, and for everything else."""
        return [
            max(self.batches, key=lambda batch: batch[0].size * batch[0].shape[1]),
            max(self.batches, key=lambda batch: batch[0].size),
        ]

    def varied(self, texts: int) -> list[Batch]:
        """Return batches of about `texts` in all, from the shortest to the longest, each with some padding."""
        each = max(1, texts // 4)
        places = np.linspace(0, len(self.batches) - 1, 4).astype(int)
        return [
            (ids_BT[-each:], mask_BT[-each:]) for ids_BT, mask_BT in map(self.batches.__getitem__, places)
        ]


def read(corpus: Path, tokenizer: Path, scale: Scale, journal: Journal) -> Texts:
    """Draw the texts from a corpus with its distribution of lengths, and write down how many tokens they have."""
    texts = samples.draw(samples.read(str(corpus)), scale.texts, seed=0)
    encoder = TextEncoder(tokenizer, scale.max_length)
    encoded = encoder.encode([Row(number=number, text=text) for number, text in enumerate(texts)])
    ids = [np.asarray(text.ids, np.int64) for text in encoded]
    lengths = [len(each) for each in ids]

    def batched(positions: Sequence[int]) -> Batch:
        mask_BT = token_mask(np.array([lengths[position] for position in positions]))
        ids_BT = padded(np.concatenate([ids[position] for position in positions]), mask_BT)
        return ids_BT.astype(np.int64), mask_BT.astype(np.int64)

    positions = length_batches(lengths, Budget(tokens=scale.budget, scores=scale.scores))
    found = Texts(lengths=lengths, batches=[batched(each) for each in positions])
    journal.fact("texts", f"{len(texts)} of IMDB's test set, at most {scale.max_length} tokens")
    journal.figure("texts, tokens", found.tokens, "tokens")
    journal.figure("texts, tokens with padding", sum(ids_BT.size for ids_BT, _ in found.batches), "tokens")
    journal.figure("texts, batches", len(found.batches), "batches")
    return found
