import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from amix.engine.attentionmix import AttentionMix
from amix.engine.errors import MixingError, UsageError
from amix.engine.losses import soft_cross_entropy
from amix.engine.mixing import NoMix
from amix.engine.pairmix import WordMixup
from amix.engine.partners import derangement, step_generator
from tests.engine.strategies import batches


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@given(batches(), st.integers(0, 100), st.sampled_from([0.2, 1.0, 4.0]))
def test_wordmixup_has_one_ratio_per_pair_and_leaves_lone_tokens_whole(batch, seed, alpha):
    mask, content, _, partner = batch
    plan = WordMixup(alpha=alpha).plan(mask, content=content, partner=partner, generator=generator(seed))
    x = torch.randn(*mask.shape, 3)
    mixed, other = plan.mix(x), x[partner]
    for a in range(len(mask)):
        weight = plan.label_weight[a]
        assert 0 <= weight <= 1
        for j in range(mask.shape[1]):
            if mask[a, j] and mask[partner[a], j]:
                expected = weight * x[a, j] + (1 - weight) * other[a, j]
                torch.testing.assert_close(mixed[a, j], expected, rtol=0, atol=1e-5)
            elif mask[a, j]:
                assert torch.equal(mixed[a, j], x[a, j])
            elif mask[partner[a], j]:
                assert torch.equal(mixed[a, j], other[a, j])


def test_wordmixup_draws_beta():
    mask = torch.ones(4000, 1, dtype=torch.long)
    weight = WordMixup(alpha=0.5).plan(mask, generator=generator(3)).label_weight.double()
    # Beta(a, a): mean 1/2, variance 1 / (4 (2 a + 1)) = 1/8.
    assert abs(weight.mean() - 0.5) < 0.02
    assert abs(weight.var() - 0.125) < 0.01


def test_wordmixup_pad_zero_mixes_with_the_padding_vector_as_the_source_does():
    mask = torch.tensor([[1, 1], [1, 0]])
    plan = WordMixup(pad="zero").plan(mask, partner=torch.tensor([1, 0]), generator=generator())
    assert torch.equal(plan.ratio, plan.label_weight[:, None].expand(2, 2))


@pytest.mark.parametrize("option", [{"alpha": 0.0}, {"alpha": float("nan")}, {"pad": "cut"}, {"p": -1.0}])
def test_wordmixup_refuses_options_out_of_range(option):
    with pytest.raises(UsageError, match=next(iter(option))):
        WordMixup(**option)


@given(batches())
def test_none_changes_nothing(batch):
    mask = batch[0]
    plan = NoMix().plan(mask)
    x = torch.randn(*mask.shape, 2)
    assert plan.mix(x) is x
    assert plan.is_identity
    assert torch.equal(plan.attention_mask, mask)
    assert torch.equal(plan.partner, torch.arange(len(mask)))


@pytest.mark.parametrize("mixer", [AttentionMix(), WordMixup(), NoMix(), AttentionMix(p=0.5)])
def test_input_and_label_agree_on_the_partner(mixer):
    mask = torch.ones(8, 4, dtype=torch.long)
    plan = mixer.plan(mask, relevance=torch.rand(8, 4), generator=generator(5))
    one_hot = torch.eye(8)
    # Rows as their own one-hot vectors: what the input holds of each row can be read off it.
    heard = plan.mix(one_hot[:, None, :].expand(8, 4, 8)).mean(dim=1)
    torch.testing.assert_close(heard, plan.mix_labels(torch.arange(8), 8), rtol=0, atol=1e-5)


@given(st.integers(2, 40), st.integers(0, 10_000))
def test_random_partners_are_a_permutation_without_fixed_points(rows, seed):
    partner = derangement(rows, generator(seed))
    assert sorted(partner.tolist()) == list(range(rows))
    assert not bool((partner == torch.arange(rows)).any())


def test_every_derangement_is_drawn_equally_often():
    random = generator(1)
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(4500):
        drawn = tuple(derangement(4, random).tolist())
        counts[drawn] = counts.get(drawn, 0) + 1
    assert len(counts) == 9  # all derangements of 4, the ones of two cycles included
    assert all(400 < count < 600 for count in counts.values())


def test_a_lone_row_stays_itself():
    mask = torch.ones(1, 3, dtype=torch.long)
    x = torch.randn(1, 3, 2)
    plan = AttentionMix().plan(mask, relevance=torch.rand(1, 3))
    assert torch.equal(plan.mix(x), x)


def test_generators_depend_on_all_their_arguments():
    def first(*key):
        return torch.rand(4, generator=step_generator(*key)).tolist()

    keys = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
    assert len({tuple(first(*key)) for key in keys}) == len(keys)
    assert first(3, 1, 4) == first(3, 1, 4)


def test_plans_do_not_touch_the_global_generator():
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    for mixer in (AttentionMix(p=0.5), WordMixup(), NoMix()):
        mixer.plan(torch.ones(4, 3, dtype=torch.long), relevance=torch.ones(4, 3), generator=generator())
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"partner": torch.tensor([0, 3])}, "rows outside"),
        ({"partner": torch.tensor([0])}, "partner has shape"),
        ({"partner": torch.tensor([0.0, 1.0])}, "partner has shape"),
        ({"content": torch.ones(2, 5)}, "content has shape"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(kwargs, message):
    with pytest.raises(MixingError, match=message):
        WordMixup().plan(torch.ones(2, 3, dtype=torch.long), **kwargs)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 2]), "label 2 is outside 0..1"),
        (torch.tensor([0, -1]), "label -1"),
        (torch.ones(2, 3), "3 wide"),
        (torch.tensor([[0.5, 1.5]] * 2), r"\[0, 1\]"),
        (torch.tensor([0.0, 1.0]), "class ids"),
        (torch.tensor([0, 1, 1]), "3 labels for a plan of 2 rows"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, message):
    plan = WordMixup().plan(torch.ones(2, 3, dtype=torch.long))
    with pytest.raises(MixingError, match=message):
        plan.mix_labels(labels, 2)


def test_soft_labels_mix_like_hard_ones():
    plan = WordMixup().plan(torch.ones(3, 2, dtype=torch.long), generator=generator(2))
    labels = torch.tensor([2, 0, 1])
    soft = torch.nn.functional.one_hot(labels, 3).float()
    assert torch.equal(plan.mix_labels(labels, 3), plan.mix_labels(soft, 3))


def test_token_types_come_from_the_larger_ratio_and_ties_take_the_smaller():
    mask = torch.ones(2, 3, dtype=torch.long)
    plan = AttentionMix().plan(
        mask, relevance=torch.tensor([[3.0, 1.0, 1.0], [1.0, 3.0, 1.0]]), partner=torch.tensor([1, 0])
    )
    types = torch.tensor([[0, 0, 1], [1, 1, 0]])
    assert plan.mix_token_types(types).tolist() == [[0, 1, 0], [0, 1, 0]]


def test_soft_cross_entropy_is_the_cross_entropy_of_distributions():
    logits, targets = torch.randn(5, 3), torch.softmax(torch.randn(5, 3), dim=1)
    expected = -(targets.double() * torch.log_softmax(logits.double(), dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(soft_cross_entropy(logits, targets).double(), expected, rtol=1e-5, atol=1e-6)
    hard = torch.tensor([0, 2, 1, 1, 0])
    torch.testing.assert_close(
        soft_cross_entropy(logits, torch.eye(3)[hard]), torch.nn.functional.cross_entropy(logits, hard)
    )
    with pytest.raises(MixingError, match="targets"):
        soft_cross_entropy(logits, hard)
