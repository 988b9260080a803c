"""Random batches for property tests: right-padded masks, content inside them, relevance at every position."""

import torch
from hypothesis import strategies as st
from torch import Tensor

Sample = tuple[Tensor, Tensor, Tensor, Tensor]  # mask, content, relevance, partner


@st.composite
def batches(draw: st.DrawFn, min_rows: int = 1, max_rows: int = 6, max_tokens: int = 9) -> Sample:
    """Return mask (B, T) int64, content (B, T) bool, relevance (B, T) float32 and any partner (B,)."""
    rows, tokens = draw(st.integers(min_rows, max_rows)), draw(st.integers(1, max_tokens))
    lengths = draw(st.lists(st.integers(0, tokens), min_size=rows, max_size=rows))
    mask = torch.arange(tokens) < torch.tensor(lengths)[:, None]
    flags = st.lists(st.booleans(), min_size=rows * tokens, max_size=rows * tokens)
    content = torch.tensor(draw(flags)).view(rows, tokens) & mask
    value = st.one_of(st.just(0.0), st.floats(2**-7, 128, width=32))
    values = draw(st.lists(value, min_size=rows * tokens, max_size=rows * tokens))
    relevance = torch.tensor(values, dtype=torch.float32).view(rows, tokens)
    partner = torch.tensor(draw(st.lists(st.integers(0, rows - 1), min_size=rows, max_size=rows)))
    return mask.long(), content, relevance, partner
