import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from amix.engine.extractor.relevance import cls_received, received
from tests.engine.extractor import reference

Maps = tuple[torch.Tensor, torch.Tensor]


@st.composite
def maps(draw: st.DrawFn) -> Maps:
    """Attention (B, H, T, T) as a model gives it, padded columns at 0, with its right-padded mask (B, T)."""
    rows, heads, tokens = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 7))
    lengths = torch.tensor(draw(st.lists(st.integers(1, tokens), min_size=rows, max_size=rows)))
    mask = (torch.arange(tokens) < lengths[:, None]).long()
    scores = torch.randn(
        rows, heads, tokens, tokens, generator=torch.Generator().manual_seed(draw(st.integers(0, 999)))
    )
    return torch.softmax(scores.masked_fill(mask[:, None, None, :] == 0, -torch.inf), dim=-1), mask


@given(maps())
def test_received_is_the_sum_over_real_queries(case: Maps) -> None:
    attention, mask = case
    relevance = received(attention, mask)
    for b in range(len(mask)):
        for h in range(attention.shape[1]):
            for j in range(mask.shape[1]):
                loop = sum(float(attention[b, h, i, j]) for i in range(mask.shape[1]) if mask[b, i])
                assert abs(float(relevance[b, h, j]) - (loop if mask[b, j] else 0.0)) < 1e-5


@given(maps())
def test_cls_is_the_first_row_times_the_number_of_tokens(case: Maps) -> None:
    attention, mask = case
    expected = attention[:, :, 0, :] * (mask * mask.sum(dim=1, keepdim=True))[:, None, :]
    torch.testing.assert_close(cls_received(attention, mask), expected)


@given(maps())
def test_heads_sum_to_the_number_of_tokens_and_padding_gets_nothing(case: Maps) -> None:
    attention, mask = case
    count = mask.sum(dim=1)[:, None].float().expand(-1, attention.shape[1])
    for reduction in (received, cls_received):
        relevance = reduction(attention, mask)
        torch.testing.assert_close(relevance.sum(dim=2), count, rtol=1e-5, atol=1e-5)
        assert bool((relevance.masked_select(mask[:, None, :] == 0) == 0).all())


@given(maps())
def test_numpy_reference_agrees(case: Maps) -> None:
    attention, mask = case
    for name, reduction in (("received", received), ("cls_received", cls_received)):
        expected = getattr(reference, name)(attention.numpy(), mask.numpy())
        np.testing.assert_allclose(reduction(attention, mask).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_half_precision_maps_are_summed_in_float32() -> None:
    attention = torch.full((1, 1, 4096, 4096), 1 / 4096, dtype=torch.float16)
    relevance = received(attention, torch.ones(1, 4096, dtype=torch.long))
    assert relevance.dtype == torch.float32
    torch.testing.assert_close(relevance, torch.ones(1, 1, 4096))
