"""Text in, token ids out: the extractor's tokenizer, cut at the maximum length, with every cut counted."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amix.engine.extractor.tokenizer import open_tokenizer
from amix.loaders.corpus import Row


class Encoded(NamedTuple):
    """Token ids of one text, (T,) int64, its token types where it is a pair, and whether it was cut."""

    ids: NDArray[np.int64]
    token_type_ids: NDArray[np.int64] | None
    truncated: bool


class TextEncoder:
    """Encodes rows with a `tokenizer.json`, special tokens included, at most `max_length` tokens each."""

    def __init__(self, tokenizer_file: Path, max_length: int) -> None:
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
            )
            for row, encoding in zip(rows, self._tokenizer.encode_batch(inputs), strict=True)
        ]
