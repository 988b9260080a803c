"""Partners of similar meaning: which rows are near, and that the quantile of their distances rises."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from amix.engine.base.errors import MixingError, UsageError
from amix.engine.mixing.attentionmix import AttentionMix
from amix.engine.mixing.partners import draw_partners
from amix.engine.mixing.similar import FIRST, near_rows

shares = st.floats(0, 1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@st.composite
def means(draw: st.DrawFn, min_rows: int = 1) -> Tensor:
    """Random mean embeddings, some of them equal, some of texts without content."""
    rows, width = draw(st.integers(min_rows, 9)), draw(st.integers(1, 5))
    means_BD = torch.randn(rows, width, generator=generator(draw(st.integers(0, 10**6))), dtype=torch.float64)
    copied = draw(st.lists(st.integers(0, rows - 1), min_size=rows, max_size=rows))
    means_BD = means_BD[torch.tensor(copied)]
    means_BD[torch.tensor(draw(st.lists(st.booleans(), min_size=rows, max_size=rows)))] *= draw(
        st.sampled_from([0.0, 1.0, 40.0])
    )
    return means_BD


@given(means_BD=means(), progress=shares, seed=st.integers(0, 1000))
def test_partners_are_those_of_a_plain_loop(means_BD: Tensor, progress: float, seed: int) -> None:
    rows, vectors = len(means_BD), means_BD.numpy()
    distance = {}
    for a in range(rows):
        for b in range(a + 1, rows):
            norms = np.linalg.norm(vectors[a]) * np.linalg.norm(vectors[b])
            distance[a, b] = 1.0 - float(vectors[a] @ vectors[b]) / norms if norms else 1.0
    share = FIRST + (1.0 - FIRST) * progress
    limit = np.quantile([*distance.values()], share, method="inverted_cdf") if distance else 0.0
    drawn = torch.rand(rows, generator=generator(seed), dtype=torch.float64).tolist()
    expected = []
    for a in range(rows):
        others = [b for b in range(rows) if b != a and distance[min(a, b), max(a, b)] <= limit + 1e-9]
        expected.append(others[int(drawn[a] * len(others))] if others else a)
    near_BB = near_rows(means_BD, progress)
    found = draw_partners("similar", torch.ones(rows), None, generator(seed), near_BB)
    assert found.tolist() == expected


@given(means_BD=means(), progress=shares)
def test_near_is_mutual_and_as_wide_as_the_quantile(means_BD: Tensor, progress: float) -> None:
    near_BB = near_rows(means_BD, progress)
    assert torch.equal(near_BB, near_BB.T)
    assert not bool(near_BB.diagonal().any())
    pairs = len(means_BD) * (len(means_BD) - 1) // 2
    found = int(near_BB.sum()) // 2
    assert math.ceil((FIRST + (1 - FIRST) * progress) * pairs) <= found <= pairs


def test_without_equal_distances_it_is_exactly_the_quantile() -> None:
    means_BD = torch.randn(8, 12, generator=generator(3))
    found = [int(near_rows(means_BD, step / 9).sum()) // 2 for step in range(10)]
    assert found == [math.ceil(28 * (step + 1) / 10 - 1e-9) for step in range(10)]


@given(means_BD=means(), earlier=shares, later=shares)
def test_who_is_near_once_stays_near(means_BD: Tensor, earlier: float, later: float) -> None:
    earlier, later = sorted((earlier, later))
    before, after = near_rows(means_BD, earlier), near_rows(means_BD, later)
    assert bool((after | ~before).all())
    at_the_end = near_rows(means_BD, 1.0)
    assert int(at_the_end.sum()) == len(means_BD) * (len(means_BD) - 1)


@given(means_BD=means(), progress=shares, seed=st.integers(0, 1000))
def test_neither_length_nor_order_of_the_rows_has_a_say(means_BD: Tensor, progress: float, seed: int) -> None:
    near_BB = near_rows(means_BD, progress)
    order_B = torch.randperm(len(means_BD), generator=generator(seed))
    scale_B1 = torch.rand(len(means_BD), 1, generator=generator(seed), dtype=torch.float64) + 0.5
    again_BB = near_rows((means_BD * scale_B1)[order_B], progress)
    assert torch.equal(again_BB, near_BB[order_B][:, order_B])


def test_rows_without_a_near_one_stay_unmixed_and_are_counted() -> None:
    # Two equal texts, and three that are at right angles to them and to each other.
    means_BD = torch.eye(4)[torch.tensor([0, 0, 1, 2, 3])]
    mask, relevance = torch.ones(5, 3, dtype=torch.long), torch.rand(5, 3) + 0.1
    mixer = AttentionMix(partner="similar")
    plan = mixer.plan(mask, relevance=relevance, near=near_rows(means_BD, 0.0), generator=generator())
    assert plan.partner.tolist() == [1, 0, 2, 3, 4]
    assert plan.unpaired == 3
    x = torch.randn(5, 3, 2)
    assert torch.equal(plan.mix(x)[2:], x[2:])
    later = mixer.plan(mask, relevance=relevance, near=near_rows(means_BD, 1.0), generator=generator())
    assert later.unpaired == 0


def test_each_near_row_is_equally_likely() -> None:
    near_BB = ~torch.eye(5, dtype=torch.bool)
    near_BB[0, 3] = False
    counts, random = [0] * 5, generator(4)
    for _ in range(3000):
        counts[int(draw_partners("similar", torch.ones(5), None, random, near_BB)[0])] += 1
    assert counts[0] == counts[3] == 0
    assert all(850 < counts[row] < 1150 for row in (1, 2, 4))


@pytest.mark.parametrize(
    ("near", "says"), [(None, "none given"), (torch.ones(2, 3).bool(), r"\(2, 3\) given for 3 rows")]
)
def test_what_is_near_has_to_be_said(near: Tensor | None, says: str) -> None:
    with pytest.raises(MixingError, match=f"partner='similar' needs near.*{says}"):
        draw_partners("similar", torch.ones(3), None, generator(), near)


@pytest.mark.parametrize("progress", [-0.1, 1.1, float("nan")])
def test_progress_is_a_share(progress: float) -> None:
    with pytest.raises(UsageError, match="progress is"):
        near_rows(torch.ones(3, 2), progress)
