"""Text in, token ids out: the extractor's tokenizer, cut at the maximum length, with every cut counted."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from amix.engine.extractor.tokenizer import open_tokenizer
from amix.loaders.corpus import Row

if TYPE_CHECKING:
    from tokenizers import Encoding


class Encoded(NamedTuple):
    """Token ids of one text, (T,) int64, its token types where it is a pair, and whether it was cut.

    flaw: why it cannot be a sample, None if it can.
    """

    ids: NDArray[np.int64]
    token_type_ids: NDArray[np.int64] | None
    truncated: bool
    flaw: str | None


class TextEncoder:
    """Encodes rows with a `tokenizer.json`, special tokens included, at most `max_length` tokens each.

    special_ids: tokens that are no content, by which texts without content are told.
    """

    def __init__(self, tokenizer_file: Path, max_length: int, special_ids: Collection[int] = ()) -> None:
        self._special = frozenset(special_ids)
        self._tokenizer = open_tokenizer(tokenizer_file)
        self._tokenizer.enable_truncation(max_length)

    def encode(self, rows: Sequence[Row]) -> list[Encoded]:
        """Return the ids of each row, in order. Rows must have text."""
        inputs = [row.text if row.pair is None else (row.text, row.pair) for row in rows]
        return [
            Encoded(
                np.array(encoding.ids, np.int64),
                np.array(encoding.type_ids, np.int64) if row.pair is not None else None,
                bool(encoding.overflowing),
                self._flaw(encoding, paired=row.pair is not None),
            )
            for row, encoding in zip(rows, self._tokenizer.encode_batch(inputs), strict=True)
        ]

    def _flaw(self, encoding: "Encoding", *, paired: bool) -> str | None:
        """Return which text leaves no token of its own, so that there is nothing to mix, or not even a first token."""
        if not paired:
            return (
                None if any(token not in self._special for token in encoding.ids) else "text gives no token"
            )
        places = zip(encoding.sequence_ids, encoding.ids, strict=True)
        sides = {side for side, token in places if token not in self._special}
        flaws = {0: "text gives no token", 1: "pair gives no token"}
        return next((flaw for side, flaw in flaws.items() if side not in sides), None)
