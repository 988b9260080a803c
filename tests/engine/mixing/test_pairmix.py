"""The mixers of one ratio per pair: how the ratio is drawn, and at which layer."""

from typing import Any

import pytest
import torch

from amix.engine.base.errors import UsageError
from amix.engine.mixing.pairmix import SentenceMixup, TMix, WordMixup


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("mixer", [WordMixup, SentenceMixup, TMix])
@pytest.mark.parametrize("alpha", [0.5, 1.0, 4.0])
def test_ratios_are_drawn_from_beta(mixer: Any, alpha: float) -> None:
    mask = torch.ones(8000, 1, dtype=torch.long)
    weight = mixer(alpha=alpha, max_lambda=False).plan(mask, generator=generator(3)).label_weight.double()
    # Beta(a, a): mean 1/2, variance 1 / (4 (2 a + 1)).
    assert abs(weight.mean() - 0.5) < 0.02
    assert abs(weight.var() - 1 / (4 * (2 * alpha + 1))) < 0.01


@pytest.mark.parametrize("mixer", [WordMixup, SentenceMixup, TMix])
def test_max_lambda_takes_the_larger_of_ratio_and_its_complement(mixer: Any) -> None:
    mask = torch.ones(500, 1, dtype=torch.long)
    plain = mixer(max_lambda=False).plan(mask, generator=generator(3)).label_weight
    larger = mixer(max_lambda=True).plan(mask, generator=generator(3)).label_weight
    assert torch.equal(larger, torch.maximum(plain, 1 - plain))


def test_defaults_are_the_literatures() -> None:
    assert (WordMixup().alpha, WordMixup().max_lambda) == (1.0, False)
    assert (SentenceMixup().alpha, SentenceMixup().max_lambda) == (1.0, False)
    assert (TMix().alpha, TMix().max_lambda, TMix().layers) == (0.75, True, (7, 9, 12))


def test_tmix_draws_one_layer_per_batch_and_each_equally_often() -> None:
    mask = torch.ones(2, 1, dtype=torch.long)
    mixer = TMix(layers=(1, 4, 5))
    sites = [mixer.plan(mask, generator=generator(seed)).site for seed in range(600)]
    assert mixer.sites == ("hidden:1", "hidden:4", "hidden:5")
    assert all(150 < sites.count(site) < 250 for site in mixer.sites)


def test_wordmixup_pad_zero_mixes_with_the_padding_vector_as_the_source_does() -> None:
    mask = torch.tensor([[1, 1], [1, 0]])
    plan = WordMixup(pad="zero").plan(mask, partner=torch.tensor([1, 0]), generator=generator())
    assert torch.equal(plan.ratio, plan.label_weight[:, None].expand(2, 2))


@pytest.mark.parametrize(
    ("mixer", "option"),
    [
        (WordMixup, {"alpha": 0.0}),
        (WordMixup, {"alpha": float("nan")}),
        (WordMixup, {"alpha": float("inf")}),
        (WordMixup, {"pad": "cut"}),
        (SentenceMixup, {"alpha": -1.0}),
        (TMix, {"layers": ()}),
        (TMix, {"layers": (3, 3)}),
        (TMix, {"layers": (-1, 3)}),
    ],
)
def test_options_out_of_range_are_refused_by_name(mixer: Any, option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(option))):
        mixer(**option)
