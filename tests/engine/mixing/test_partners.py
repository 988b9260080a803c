"""Who is mixed with whom, and that nothing but the four numbers of a step decides it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from amix.engine.base.errors import MixingError
from amix.engine.mixing.choices import PartnerChoice
from amix.engine.mixing.partners import derangement, draw_partners, step_generator


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(2, 40), st.integers(0, 10_000))
def test_random_partners_are_a_permutation_without_fixed_points(rows: int, seed: int) -> None:
    partner = derangement(rows, generator(seed))
    assert sorted(partner.tolist()) == list(range(rows))
    assert not bool((partner == torch.arange(rows)).any())


def test_every_derangement_is_drawn_equally_often() -> None:
    random = generator(1)
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(4500):
        drawn = tuple(derangement(4, random).tolist())
        counts[drawn] = counts.get(drawn, 0) + 1
    assert len(counts) == 9  # all derangements of 4, the ones of two cycles included
    assert all(400 < count < 600 for count in counts.values())


@given(st.lists(st.integers(1, 9), min_size=2, max_size=20), st.integers(0, 1000))
def test_similar_lengths_are_neighbours_when_sorted(lengths: list[int], seed: int) -> None:
    lengths_B = torch.tensor(lengths)
    partner = draw_partners("similar-length", lengths_B, None, generator(seed))
    assert sorted(partner.tolist()) == list(range(len(lengths)))
    assert not bool((partner == torch.arange(len(lengths))).any())
    if len(lengths) % 2 == 0:
        assert torch.equal(partner[partner], torch.arange(len(lengths)))
        ranks = lengths_B.sort().values
        apart = (lengths_B[partner] - lengths_B).abs().sum()
        assert apart == 2 * (ranks[1::2] - ranks[::2]).sum()  # no pairing of neighbours is closer


def test_ties_of_length_meet_by_chance() -> None:
    draws = [draw_partners("similar-length", torch.ones(4), None, generator(seed)) for seed in range(40)]
    assert len({tuple(drawn.tolist()) for drawn in draws}) == 3  # all ways to pair four rows


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(0, 1000))
def test_class_aware_partners_are_of_the_class_asked_for(labels: list[int], seed: int) -> None:
    choices: dict[PartnerChoice, bool] = {"other-class": False, "same-class": True}
    for choice, wanted in choices.items():
        partner = draw_partners(choice, torch.ones(len(labels)), torch.tensor(labels), generator(seed))
        for row, other in enumerate(partner.tolist()):
            candidates = [k for k in range(len(labels)) if k != row and (labels[k] == labels[row]) == wanted]
            assert other in (candidates or [row])


def test_each_candidate_is_equally_likely() -> None:
    labels, random = torch.tensor([0, 1, 1, 1, 0]), generator(4)
    counts = [0] * 5
    for _ in range(3000):
        counts[int(draw_partners("other-class", torch.ones(5), labels, random)[0])] += 1
    assert counts[0] == counts[4] == 0
    assert all(850 < count < 1150 for count in counts[1:4])


def test_rows_of_class_weights_are_of_one_class_when_they_are_equal() -> None:
    labels = torch.tensor([[1.0, 0, 1], [1, 0, 0], [1, 0, 1]])
    assert draw_partners("same-class", torch.ones(3), labels, generator()).tolist() == [2, 1, 0]
    assert draw_partners("other-class", torch.ones(3), labels, generator())[0] == 1


@pytest.mark.parametrize(
    ("labels", "says"), [(None, "none given"), (torch.tensor([1]), "1 given for 3 rows")]
)
def test_class_aware_choices_need_labels_of_the_batch(labels: Tensor | None, says: str) -> None:
    with pytest.raises(MixingError, match=f"partner='same-class' needs the batch's labels: {says}"):
        draw_partners("same-class", torch.ones(3), labels, generator())


def test_generators_depend_on_all_their_arguments() -> None:
    def first(seed: int, epoch: int, step: int, group: int = 0) -> list[float]:
        return torch.rand(4, generator=step_generator(seed, epoch, step, group)).tolist()

    keys = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
    assert len({tuple(first(*key)) for key in keys}) == len(keys)
    assert first(3, 1, 4) == first(3, 1, 4)
