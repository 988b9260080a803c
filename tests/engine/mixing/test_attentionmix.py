from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from amix.engine.base.errors import UsageError
from amix.engine.mixing.attentionmix import AttentionMix, content_relevance
from amix.engine.mixing.choices import LabelWeight, Special, Tail
from amix.engine.mixing.mixer import draw_beta
from amix.engine.mixing.plan import Plan
from tests.engine.mixing import oracle
from tests.engine.mixing.strategies import Sample, batches


def plan_of(mixer: AttentionMix, batch: Sample, seeded: torch.Generator | None = None) -> Plan:
    mask, content, relevance, partner = batch
    return mixer.plan(mask, relevance=relevance, content=content, partner=partner, generator=seeded)


@given(
    batches(),
    st.sampled_from(["ratio", "mass"]),
    st.sampled_from([1.0, 0.0, 0.3]),
    st.sampled_from([1.0, 0.0, 0.5, 2.0]),
    st.sampled_from([None, 0.2, 1.0]),
    st.sampled_from(["keep", "drop"]),
)
def test_equals_the_plain_loop(
    batch: Sample, label_weight: LabelWeight, strength: float, sharpness: float, alpha: float, tail: Tail
) -> None:
    options: dict[str, Any] = {
        "label_weight": label_weight,
        "strength": strength,
        "sharpness": sharpness,
        "tail": tail,
    }
    seeded = torch.Generator().manual_seed(4)
    plan = plan_of(AttentionMix(**options, alpha=alpha), batch, seeded)
    mask, content, relevance, partner = (tensor.tolist() for tensor in batch)
    tilt = None
    if alpha is not None:
        drawn = draw_beta(alpha, len(mask), torch.Generator().manual_seed(4))
        tilt = drawn.clamp(1e-4, 1 - 1e-4).tolist()
    ratio, weight = oracle.attentionmix(mask, content, relevance, partner, **options, tilt=tilt)
    torch.testing.assert_close(plan.ratio, torch.tensor(ratio, dtype=torch.float32), rtol=0, atol=2e-5)
    torch.testing.assert_close(
        plan.label_weight, torch.tensor(weight, dtype=torch.float32), rtol=0, atol=2e-5
    )


@given(
    batches(),
    st.sampled_from(["ratio", "mass"]),
    st.sampled_from(["drop", "keep"]),
    st.sampled_from([None, 0.1, 5.0]),
)
def test_ratios_and_label_weights_stay_between_0_and_1(
    batch: Sample, label_weight: LabelWeight, special: Special, alpha: float
) -> None:
    plan = plan_of(AttentionMix(label_weight=label_weight, special=special, alpha=alpha), batch)
    for values in (plan.ratio, plan.label_weight):
        assert bool(((values >= 0) & (values <= 1)).all())


@given(batches(), st.sampled_from([0.1, 7.0]))
def test_uniform_relevance_gives_one_half_where_both_have_content(batch: Sample, value: float) -> None:
    mask, content, _, partner = batch
    plan = AttentionMix().plan(
        mask, relevance=torch.full(mask.shape, value), content=content, partner=partner
    )
    both = content & content[partner]
    torch.testing.assert_close(plan.ratio[both], torch.full((int(both.sum()),), 0.5))


@given(batches())
def test_a_token_that_faces_padding_is_untouched(batch: Sample) -> None:
    mask, _, _, partner = batch
    plan = plan_of(AttentionMix(), batch)
    x = torch.randn(*mask.shape, 3)
    mixed, other = plan.mix(x), x[partner]
    own, theirs = mask.bool(), mask[partner].bool()
    assert torch.equal(mixed[own & ~theirs], x[own & ~theirs])
    assert torch.equal(mixed[theirs & ~own], other[theirs & ~own])
    assert torch.equal(plan.attention_mask.bool(), own | theirs)


@given(batches(), st.sampled_from([None, 0.5]))
def test_without_the_tail_a_row_keeps_its_length(batch: Sample, alpha: float) -> None:
    mask, _, _, partner = batch
    plan = plan_of(AttentionMix(tail="drop", alpha=alpha), batch)
    assert torch.equal(plan.attention_mask.bool(), mask.bool())
    x = torch.randn(*mask.shape, 3)
    alone = mask.bool() & ~mask[partner].bool()
    assert torch.equal(plan.mix(x)[alone], x[alone])


def test_a_tilt_takes_pairs_from_even_to_nearly_clean() -> None:
    mask = torch.ones(4_000, 2, dtype=torch.long)
    spread = {}
    for alpha in (0.1, 1.0, 100.0):
        generator = torch.Generator().manual_seed(0)
        plan = AttentionMix(alpha=alpha).plan(mask, relevance=torch.ones(4_000, 2), generator=generator)
        assert abs(float(plan.label_weight.mean()) - 0.5) < 0.03
        spread[alpha] = float(plan.label_weight.std())
    # Of Beta(a, a): 1 / sqrt(4 (2 a + 1)).
    for alpha, found in spread.items():
        assert found == pytest.approx((4 * (2 * alpha + 1)) ** -0.5, rel=0.05)


@given(batches(), st.integers(1, 4))
def test_padding_and_other_rows_change_nothing(batch: Sample, extra: int) -> None:
    mask, content, relevance, partner = batch
    plan = plan_of(AttentionMix(), batch)

    def pad(tensor: Tensor) -> Tensor:
        return torch.nn.functional.pad(tensor, (0, extra))

    padded = plan_of(AttentionMix(), (pad(mask), pad(content), pad(relevance), partner))
    torch.testing.assert_close(padded.ratio[:, : mask.shape[1]], plan.ratio, rtol=0, atol=1e-6)
    torch.testing.assert_close(padded.label_weight, plan.label_weight, rtol=0, atol=1e-6)
    assert not bool(padded.attention_mask[:, mask.shape[1] :].any())

    pair = torch.stack([torch.tensor(0), partner[0]])
    alone = plan_of(AttentionMix(), (mask[pair], content[pair], relevance[pair], torch.tensor([1, 0])))
    torch.testing.assert_close(alone.ratio[0], plan.ratio[0], rtol=0, atol=1e-6)


def test_the_scale_of_relevance_does_not_matter() -> None:
    mask = torch.ones(2, 3, dtype=torch.long)
    relevance = torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 4.0]])
    partner = torch.tensor([1, 0])
    plan = AttentionMix().plan(mask, relevance=relevance, partner=partner)
    scaled = AttentionMix().plan(mask, relevance=relevance * torch.tensor([[1e30], [1e-30]]), partner=partner)
    torch.testing.assert_close(plan.ratio, scaled.ratio)


def test_special_keep_lets_special_tokens_count() -> None:
    mask = torch.ones(2, 2, dtype=torch.long)
    content = torch.tensor([[False, True], [False, True]])
    relevance = torch.tensor([[3.0, 1.0], [1.0, 1.0]])
    partner = torch.tensor([1, 0])
    keep = AttentionMix(special="keep").plan(mask, relevance=relevance, content=content, partner=partner)
    torch.testing.assert_close(keep.ratio[0], torch.tensor([0.75, 0.5]))
    drop = AttentionMix().plan(mask, relevance=relevance, content=content, partner=partner)
    torch.testing.assert_close(drop.ratio[0], torch.tensor([0.5, 0.5]))


def test_strength_0_is_the_identity_even_beside_a_longer_partner() -> None:
    mask = torch.tensor([[1, 0, 0], [1, 1, 1]])
    plan = AttentionMix(strength=0.0).plan(mask, relevance=torch.ones(2, 3), partner=torch.tensor([1, 0]))
    x = torch.randn(2, 3, 2)
    assert torch.equal(plan.mix(x), x)
    assert torch.equal(plan.attention_mask, mask)
    assert plan.label_weight.tolist() == [1.0, 1.0]


@given(batches())
def test_content_relevance_has_mean_1_over_content(batch: Sample) -> None:
    _, content, relevance, _ = batch
    scaled = content_relevance(relevance, content)
    assert bool((scaled[~content] == 0).all())
    torch.testing.assert_close(scaled.sum(dim=1), content.sum(dim=1).float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_mixing_keeps_the_dtype_and_the_argument(dtype: torch.dtype) -> None:
    mask = torch.ones(2, 3, dtype=torch.long)
    plan = AttentionMix().plan(mask, relevance=torch.rand(2, 3), partner=torch.tensor([1, 0]))
    x = torch.randn(2, 3, 4).to(dtype)
    before = x.clone()
    mixed = plan.mix(x)
    assert mixed.dtype == dtype
    assert torch.equal(x, before)
    ratio = plan.ratio[:, :, None].double()
    expected = ratio * before.double() + (1 - ratio) * before.double()[plan.partner]
    torch.testing.assert_close(mixed.double(), expected, rtol=0, atol=4 * torch.finfo(dtype).eps)


def test_gradients_reach_both_sides_by_their_ratios() -> None:
    plan = AttentionMix().plan(
        torch.ones(2, 1, dtype=torch.long),
        relevance=torch.tensor([[3.0], [1.0]]),
        partner=torch.tensor([1, 0]),
        content=torch.zeros(2, 1, dtype=torch.bool),
    )
    x = torch.zeros(2, 1, 1, requires_grad=True)
    plan.mix(x)[0].sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad.flatten(), torch.tensor([plan.ratio[0, 0], 1 - plan.ratio[0, 0]]))


@pytest.mark.parametrize(
    "option",
    [
        {"p": 1.5},
        {"p": float("nan")},
        {"strength": -0.1},
        {"sharpness": -1.0},
        {"label_weight": "mean"},
        {"special": "cut"},
        {"level": "pooled"},
    ],
)
def test_options_out_of_range_are_refused_by_name(option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(option))):
        AttentionMix(**option)
