"""Rank correlation against its definition."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amix.engine.base.ranks import rank_correlation


def slow_rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's as a textbook has it: Pearson's correlation of mean ranks, counted pair by pair."""
    ranks = [[sum(y < x for y in row) + (sum(y == x for y in row) + 1) / 2 for x in row] for row in (a, b)]
    return float(np.corrcoef(ranks)[0, 1])


def test_rank_correlation_equals_its_definition_also_with_ties() -> None:
    draw = np.random.default_rng(0)
    for tokens, values in itertools.product((2, 3, 10, 40), (3, 1000)):
        a, b = draw.integers(0, values, (2, 5, tokens)).astype(np.float32)
        a[:, 0], b[:, 0] = -1, -2  # so that every row has some order
        found = rank_correlation(a, b)
        expected = [slow_rank_correlation(x, y) for x, y in zip(a, b, strict=True)]
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_rank_correlation_where_there_is_no_order() -> None:
    flat, rising = np.ones((1, 4)), np.arange(4.0)[None]
    assert rank_correlation(flat, 2 * flat) == 1
    assert rank_correlation(flat, rising) == rank_correlation(rising, flat) == 0
    assert rank_correlation(rising, -rising) == -1
    assert rank_correlation(np.ones((2, 0)), np.ones((2, 0))).tolist() == [1, 1]


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=2, max_size=12))
def test_rank_correlation_of_small_integers(pairs: list[tuple[int, int]]) -> None:
    one, other = np.array(pairs, np.float64).T
    if len(set(one)) > 1 and len(set(other)) > 1:
        found = rank_correlation(one[None], other[None])[0]
        assert found == pytest.approx(slow_rank_correlation(one, other), abs=1e-9)
        assert -1 - 1e-12 <= found <= 1 + 1e-12
