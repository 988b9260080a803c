"""SSMix by hand: which span goes where, pairs of texts, and the ends of the range."""

import pytest
import torch

from amix.engine.base.errors import MixingError, UsageError
from amix.engine.mixing.plan import Plan
from amix.engine.mixing.ssmix import SSMix


def plan_of(
    content: list[list[int]],
    saliency: list[list[float]],
    share: float,
    mask: list[list[int]] | None = None,
) -> Plan:
    content_BT = torch.tensor(content).bool()
    mask_BT = torch.ones_like(content_BT) if mask is None else torch.tensor(mask)
    return SSMix(span_share=share).plan(
        mask_BT.long(), saliency=torch.tensor(saliency), content=content_BT, partner=torch.tensor([1, 0])
    )


def test_the_least_salient_span_gives_way_to_the_partners_most_salient_one() -> None:
    plan = plan_of(
        [[0, 1, 1, 1, 1, 0], [0, 1, 1, 1, 1, 0]],
        [[9.0, 5.0, 1.0, 2.0, 4.0, 9.0], [9.0, 1.0, 2.0, 7.0, 3.0, 9.0]],
        0.5,
    )
    assert plan.ratio[0].tolist() == [1, 1, 0, 0, 1, 1]
    assert plan.source[0].tolist() == [0, 1, 3, 4, 4, 5]
    assert plan.label_weight.tolist() == [0.5, 0.5]
    ids = torch.tensor([[100.0, 11, 12, 13, 14, 102], [100.0, 21, 22, 23, 24, 102]])
    assert plan.mix(ids[:, :, None])[0, :, 0].tolist() == [100, 11, 23, 24, 14, 102]


def test_a_pair_is_mixed_text_by_text() -> None:
    """Section 2.3 of the source: the first text with the first, the second with the second."""
    content = [[0, 1, 1, 0, 1, 1, 0], [0, 1, 1, 0, 1, 1, 0]]
    saliency = [[0.0, 1.0, 2.0, 0.0, 2.0, 1.0, 0.0], [0.0, 5.0, 6.0, 0.0, 9.0, 8.0, 0.0]]
    plan = plan_of(content, saliency, 0.5)
    assert plan.ratio[0].tolist() == [1, 0, 1, 1, 1, 0, 1]
    assert plan.source[0].tolist() == [0, 2, 2, 3, 4, 4, 6]
    assert plan.label_weight[0] == 0.5
    types = torch.tensor([[0, 0, 0, 0, 1, 1, 1]] * 2)
    assert torch.equal(plan.mix_token_types(types), types)


def test_the_first_of_equal_spans_is_taken() -> None:
    plan = plan_of([[1, 1, 1], [1, 1, 1]], [[2.0, 2.0, 2.0]] * 2, 0.0)
    assert plan.ratio[0].tolist() == [0, 1, 1]  # at least one token
    assert plan.source[0].tolist() == [0, 1, 2]


def test_a_short_partner_gives_all_it_has() -> None:
    plan = plan_of(
        [[1, 1, 1, 1], [1, 0, 0, 0]],
        [[4.0, 3.0, 2.0, 1.0], [1.0, 0.0, 0.0, 0.0]],
        1.0,
        mask=[[1, 1, 1, 1], [1, 0, 0, 0]],
    )
    assert plan.ratio[0].tolist() == [1, 1, 1, 0]
    assert plan.label_weight[0] == 0.75
    assert plan.attention_mask.tolist() == [[1, 1, 1, 1], [1, 0, 0, 0]]


def test_a_row_without_content_stays_itself() -> None:
    plan = plan_of([[0, 0], [0, 1]], [[1.0, 1.0]] * 2, 0.5)
    assert plan.ratio.tolist() == [[1, 1], [1, 1]]
    assert plan.label_weight.tolist() == [1, 1]


def test_the_defaults_are_the_sources() -> None:
    assert SSMix().span_share == 0.1
    assert SSMix().needs == {"saliency"}


def test_wrong_input_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="span_share"):
        SSMix(span_share=1.1)
    mask = torch.ones(2, 3, dtype=torch.long)
    with pytest.raises(MixingError, match="ssmix needs the saliency"):
        SSMix().plan(mask, relevance=torch.ones(2, 3))
