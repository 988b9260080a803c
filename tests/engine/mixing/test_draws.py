"""Plans drawn by the same generator stay the same from version to version: these values are of an earlier one."""

from typing import NamedTuple

import pytest
import torch

from amix.engine.mixing.attentionmix import AttentionMix
from amix.engine.mixing.mixer import Mixer, NoMix
from amix.engine.mixing.pairmix import SentenceMixup, TMix, WordMixup
from amix.engine.mixing.ssmix import SSMix


class Known(NamedTuple):
    """A mixer, and what its plan was: `ratio` and `source` as sums over tokens, `after` = the next number drawn."""

    mixer: Mixer
    site: str
    partner: list[int]
    label_weight: list[float]
    ratio: list[float]
    source: list[int]
    after: int


STRAIGHT = [28] * 6  # every position reads its own
KNOWN = {
    "none": Known(
        NoMix(),
        "embedding",
        [0, 1, 2, 3, 4, 5],
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
        [8.0, 8.0, 8.0, 8.0, 8.0, 8.0],
        STRAIGHT,
        1830871372,
    ),
    "wordmixup": Known(
        WordMixup(p=0.6),
        "embedding",
        [3, 2, 2, 4, 5, 5],
        [0.764049, 0.170253, 1.0, 0.346448, 0.042664, 1.0],
        [6.34834, 5.51076, 8.0, 4.07869, 6.08533, 8.0],
        STRAIGHT,
        1673783933,
    ),
    "sentencemixup": Known(
        SentenceMixup(p=0.6),
        "pooled",
        [3, 2, 2, 4, 5, 5],
        [0.764049, 0.170253, 1.0, 0.346448, 0.042664, 1.0],
        [8.0, 8.0, 8.0, 8.0, 8.0, 8.0],
        STRAIGHT,
        1673783933,
    ),
    "tmix": Known(
        TMix(p=0.6, layers=(1, 2, 5)),
        "hidden:2",
        [3, 1, 1, 4, 4, 5],
        [0.623622, 1.0, 0.874339, 0.964489, 1.0, 1.0],
        [5.36535, 8.0, 5.62302, 7.78693, 8.0, 8.0],
        STRAIGHT,
        987689860,
    ),
    "ssmix": Known(
        SSMix(p=0.6, span_share=0.4, partner="other-class"),
        "embedding",
        [1, 5, 2, 2, 2, 5],
        [0.625, 0.6, 1.0, 0.714286, 0.666667, 1.0],
        [5.0, 6.0, 8.0, 6.0, 6.0, 8.0],
        [22, 22, 27, 20, 20, 29],
        1673783933,
    ),
    "attentionmix": Known(
        AttentionMix(p=0.6),
        "embedding",
        [4, 0, 3, 3, 4, 1],
        [0.641373, 0.320668, 0.196025, 1.0, 1.0, 0.217846],
        [5.13098, 2.56534, 2.37218, 8.0, 8.0, 4.08923],
        STRAIGHT,
        2018939537,
    ),
    "attentionmix alpha": Known(
        AttentionMix(p=0.6, alpha=0.5, partner="similar-length", tail="drop"),
        "embedding",
        [3, 1, 5, 3, 1, 2],
        [0.578536, 1.0, 0.440551, 1.0, 0.207938, 0.986984],
        [4.62829, 8.0, 6.32165, 8.0, 3.24763, 7.97397],
        STRAIGHT,
        1400938237,
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_plan_is_drawn_as_ever(name: str) -> None:
    known = KNOWN[name]
    mask = (torch.arange(8) < torch.tensor([8, 5, 3, 7, 6, 2])[:, None]).long()
    numbers = ((torch.arange(2 * 6 * 8) * 7919) % 101).float().view(6, 2, 8) / 16
    generator = torch.Generator().manual_seed(11)
    plan = known.mixer.plan(
        mask,
        relevance=numbers,
        saliency=numbers[:, 0],
        labels=torch.tensor([0, 1, 0, 1, 1, 0]),
        generator=generator,
    )
    assert plan.site == known.site
    assert plan.partner.tolist() == known.partner
    assert plan.source.sum(dim=1).tolist() == known.source
    assert plan.label_weight.tolist() == pytest.approx(known.label_weight, abs=2e-6)
    assert plan.ratio.sum(dim=1).tolist() == pytest.approx(known.ratio, abs=2e-5)
    assert int(torch.randint(2**31, (), generator=generator)) == known.after  # as many numbers were drawn
