"""Stored samples in, samples end to end out, with their values checked.

Axes: B samples, S head specs, H heads that are read, N tokens of all samples, C classes.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from amix.engine.base.errors import ShardError
from amix.engine.base.heads import Head, HeadSpec
from amix.loaders.shards.codes import decode
from amix.loaders.shards.layout import Layout
from amix.loaders.shards.reader import StoredSample
from amix.loaders.stream.flat import FlatBatch


class Picked(NamedTuple):
    """What head specs read.

    text: the specs as they are written; None = no relevance.  heads: positions of the heads that are read, each once.
    rows: for each spec, where its heads are in `heads`; their mean is the relevance.
    """

    text: str | None
    heads: tuple[int, ...]
    rows: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, head: str | None, available: Sequence[Head], where: str) -> Self:
        """Return what `head` reads of the stored heads `available`. Raises HeadError for one that `where` lacks."""
        specs = () if head is None else HeadSpec.parse_several(head)
        picked = [spec.indices(available, where) for spec in specs]
        heads = tuple(sorted({position for spec in picked for position in spec}))
        rows = tuple(tuple(heads.index(position) for position in spec) for spec in picked)
        return cls(None if head is None else "|".join(map(str, specs)), heads, rows)


class Decoder:
    """Decodes what the readers of one cache return.

    vocab_size, special_ids: of its tokenizer.
    """

    def __init__(
        self, layout: Layout, picked: Picked, *, vocab_size: int, special_ids: Sequence[int]
    ) -> None:
        self._layout = layout
        self._heads = list(picked.heads)
        self._rows = [list(each) for each in picked.rows]
        self._is_content = np.ones(vocab_size, np.bool_)
        self._is_content[list(special_ids)] = False

    def flat(self, stored: list[StoredSample]) -> FlatBatch:
        """Lay samples end to end. Raises ShardError naming a sample with values that no run writes."""
        layout = self._layout
        lengths_B = np.array([sample.tokens for sample in stored], np.int64)
        ids_N = np.frombuffer(b"".join([sample.ids for sample in stored]), layout.ids_dtype).astype(np.int64)
        vocabulary = len(self._is_content)
        if ids_N.max(initial=0) >= vocabulary:
            what = f"a token id beyond the vocabulary of {vocabulary}"
            raise _nonsense(stored, lengths_B, int(np.argmax(ids_N >= vocabulary)), what)
        types_N: NDArray[np.int64] | None = None
        if layout.token_types:
            types_N = np.frombuffer(_joined(stored, "token_type_ids"), np.uint8).astype(np.int64)
        return FlatBatch(
            keys=[sample.key for sample in stored],
            lengths=lengths_B,
            input_ids=ids_N,
            content=self._is_content[ids_N],
            relevance=self._relevance(stored, lengths_B) if self._heads else None,
            token_type_ids=types_N,
            labels=self._labels(stored),
        )

    def _relevance(self, stored: list[StoredSample], lengths_B: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the relevance of the head specs, (N,) for one, (S, N) for several."""
        layout = self._layout
        rows = b"".join([sample.relevance[head] for head in range(len(self._heads)) for sample in stored])
        scale_HN = None
        if "scale" in layout.arrays:
            scales = np.frombuffer(_joined(stored, "scale"), "<f4")
            scale_HB = scales.reshape(len(stored), layout.heads).T[self._heads]
            scale_HN = np.repeat(scale_HB, lengths_B, axis=1)
        stored_HN = np.frombuffer(rows, layout.relevance_dtype).reshape(len(self._heads), -1)
        relevance_HN = decode(stored_HN, scale_HN)
        # With a NaN among the numbers, min and max are NaN, and both comparisons are false.
        if relevance_HN.size and not (relevance_HN.min() >= 0 and relevance_HN.max() < np.inf):
            is_fine_N = ((relevance_HN >= 0) & (relevance_HN < np.inf)).all(axis=0)
            what = "relevance that is NaN, infinite or negative"
            raise _nonsense(stored, lengths_B, int(np.argmin(is_fine_N)), what)
        means: list[NDArray[np.float32]] = [relevance_HN[each].mean(axis=0) for each in self._rows]
        return means[0] if len(means) == 1 else np.stack(means)

    def _labels(self, stored: list[StoredSample]) -> NDArray[np.int64] | NDArray[np.float32] | None:
        """Return class weights (B, C), class ids (B,), or None."""
        if self._layout.classes:
            weights = np.frombuffer(_joined(stored, "labels"), "<f4").astype(np.float32)
            return weights.reshape(-1, self._layout.classes)
        return np.array([sample.label for sample in stored], np.int64) if self._layout.cls else None


def _joined(stored: list[StoredSample], name: str) -> bytes:
    return b"".join([sample.others[name] for sample in stored])


def _nonsense(stored: list[StoredSample], lengths_B: NDArray[np.int64], token: int, what: str) -> ShardError:
    """Return the error about the sample that holds token number `token` of all samples end to end."""
    bad = stored[int(np.searchsorted(np.cumsum(lengths_B), token, "right"))]
    return ShardError(
        f"{bad.tar}: sample {bad.key}: holds {what}, which 'amix precompute' never writes. Do not use it."
    )
