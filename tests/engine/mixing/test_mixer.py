from typing import Any

import pytest
import torch
from hypothesis import given

from amix.engine.base.errors import MixingError, UsageError
from amix.engine.mixing.attentionmix import AttentionMix
from amix.engine.mixing.losses import soft_cross_entropy
from amix.engine.mixing.mixer import Mixer, NoMix
from amix.engine.mixing.pairmix import SentenceMixup, TMix, WordMixup
from amix.engine.mixing.plan import Plan
from amix.engine.mixing.ssmix import SSMix
from tests.engine.mixing.strategies import Sample, batches


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(batches())
def test_none_changes_nothing(batch: Sample) -> None:
    mask = batch[0]
    plan = NoMix().plan(mask)
    x = torch.randn(*mask.shape, 2)
    assert plan.mix(x) is x
    assert plan.is_identity
    assert torch.equal(plan.attention_mask, mask)
    assert torch.equal(plan.partner, torch.arange(len(mask)))


def test_a_lone_row_stays_itself() -> None:
    mask = torch.ones(1, 3, dtype=torch.long)
    x = torch.randn(1, 3, 2)
    plan = AttentionMix().plan(mask, relevance=torch.rand(1, 3))
    assert torch.equal(plan.mix(x), x)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"partner": torch.tensor([0, 3])}, "rows outside"),
        ({"partner": torch.tensor([0])}, "partner has shape"),
        ({"partner": torch.tensor([0.0, 1.0])}, "partner has shape"),
        ({"content": torch.ones(2, 5)}, "content has shape"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(kwargs: dict[str, Any], message: str) -> None:
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
def test_labels_that_do_not_fit_are_refused(labels: Any, message: str) -> None:
    plan = WordMixup().plan(torch.ones(2, 3, dtype=torch.long))
    with pytest.raises(MixingError, match=message):
        plan.mix_labels(labels, 2)


def test_soft_labels_mix_like_hard_ones() -> None:
    plan = WordMixup().plan(torch.ones(3, 2, dtype=torch.long), generator=generator(2))
    labels = torch.tensor([2, 0, 1])
    soft = torch.nn.functional.one_hot(labels, 3).float()
    assert torch.equal(plan.mix_labels(labels, 3), plan.mix_labels(soft, 3))


def test_token_types_come_from_the_larger_ratio_and_ties_take_the_smaller() -> None:
    mask = torch.ones(2, 3, dtype=torch.long)
    plan = AttentionMix().plan(
        mask, relevance=torch.tensor([[3.0, 1.0, 1.0], [1.0, 3.0, 1.0]]), partner=torch.tensor([1, 0])
    )
    types = torch.tensor([[0, 0, 1], [1, 1, 0]])
    assert plan.mix_token_types(types).tolist() == [[0, 1, 0], [0, 1, 0]]


def test_soft_cross_entropy_is_the_cross_entropy_of_distributions() -> None:
    logits, targets = torch.randn(5, 3), torch.softmax(torch.randn(5, 3), dim=1)
    expected = -(targets.double() * torch.log_softmax(logits.double(), dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(soft_cross_entropy(logits, targets).double(), expected, rtol=1e-5, atol=1e-6)
    hard = torch.tensor([0, 2, 1, 1, 0])
    torch.testing.assert_close(
        soft_cross_entropy(logits, torch.eye(3)[hard]), torch.nn.functional.cross_entropy(logits, hard)
    )
    with pytest.raises(MixingError, match="targets"):
        soft_cross_entropy(logits, hard)


@pytest.mark.parametrize(
    ("kind", "options"),
    [(WordMixup, {}), (SentenceMixup, {}), (TMix, {}), (SSMix, {"span_share": 0.4}), (AttentionMix, {})],
)
def test_a_probability_for_one_plan_takes_the_place_of_the_mixers(
    kind: type[Mixer], options: dict[str, Any]
) -> None:
    mask, relevance = torch.ones(8, 4, dtype=torch.long), torch.rand(8, 4)

    def plan_with(mixer: Mixer, p: float | None) -> Plan:
        return mixer.plan(mask, relevance=relevance, saliency=relevance, p=p, generator=generator(3))

    for p in (0.0, 0.5, 1.0):
        given, own = plan_with(kind(**options), p), plan_with(kind(p=p, **options), None)
        for name in ("partner", "ratio", "source", "label_weight", "attention_mask"):
            assert torch.equal(getattr(given, name), getattr(own, name))
        assert given.is_identity == own.is_identity == (p == 0.0)
    with pytest.raises(UsageError, match=r"p is 1\.5; it must be between 0 and 1"):
        plan_with(kind(**options), 1.5)


def test_none_mixes_nothing_whatever_probability_is_asked_for() -> None:
    plan = NoMix().plan(torch.ones(8, 4, dtype=torch.long), p=1.0)
    assert plan.is_identity and plan.unpaired == 0


def test_a_mixer_without_ratios_is_not_a_mixer() -> None:
    class Half(Mixer):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Half()  # type: ignore[abstract]  # which is what the test is about
