"""From the options of a run to its mixer: the one place where a method's name becomes a class."""

import math
from typing import assert_never

from amix.engine.mixing.attentionmix import AttentionMix
from amix.engine.mixing.mixer import Mixer, NoMix
from amix.engine.mixing.pairmix import PairMixer, SentenceMixup, TMix, WordMixup
from amix.engine.mixing.ssmix import SSMix
from amix.train.model.classifier import Classifier
from amix.train.model.hidden import deepest_site
from amix.train.options.auto import EVEN, GAIN, KNOWN, START
from amix.train.options.config import TrainConfig


def followed(p: float, gap: float) -> float:
    """Return the next epoch's probability of being mixed, from this one's and the confidence gap at its end.

    gap: mean confidence minus accuracy on the development set. Above 0 the model is over-confident, and more mixing
    makes it less so; below 0 it is under-confident, and mixing would add to that.
    """
    return min(1.0, max(0.0, p + GAIN * gap))


def once_learnt(p: float, loss: float, least: float = 0.0) -> float:
    """Return the next epoch's probability of being mixed where it waits until the training texts are known.

    loss: mean over an epoch in which rows were mixed with probability `p`, in nats.
    least: the loss of a model that knows them all, which is not 0 where labels are smoothed.
    """
    return EVEN if loss - least < KNOWN else p


def least_loss(smoothing: float, classes: int) -> float:
    """Return the entropy of a label of which a share `smoothing` is spread over all classes, in nats."""
    shares = [1 - smoothing + smoothing / classes, *[smoothing / classes] * (classes - 1)]
    return -sum(share * math.log(share) for share in shares if share > 0)


def build_mixer(config: TrainConfig, network: Classifier) -> Mixer:
    """Return the mixer of a configuration; its `p` is that of the first epoch.

    config: settled.  network: unwrapped; `layers=auto` is scaled to it.
    """
    assert config.p is not None, "settled"
    p, partner = START if isinstance(config.p, str) else config.p, config.partner
    match config.method:
        case "none":
            return NoMix()
        case "wordmixup":
            alpha, larger = _beta(config, WordMixup)
            return WordMixup(p=p, partner=partner, alpha=alpha, max_lambda=larger, pad=config.pad)
        case "sentencemixup":
            alpha, larger = _beta(config, SentenceMixup)
            return SentenceMixup(p=p, partner=partner, alpha=alpha, max_lambda=larger)
        case "tmix":
            alpha, larger = _beta(config, TMix)
            layers = config.layer_numbers(network.config.num_hidden_layers, deepest_site(network))
            return TMix(p=p, partner=partner, alpha=alpha, max_lambda=larger, layers=layers)
        case "ssmix":
            return SSMix(p=p, partner=partner, span_share=config.span_share)
        case "attentionmix":
            return AttentionMix(
                p=p,
                partner=partner,
                strength=config.strength,
                sharpness=config.sharpness,
                level=config.level,
                label_weight=config.label_weight,
                special=config.special,
                alpha=config.alpha,
                tail=config.tail,
            )
        case _:
            assert_never(config.method)


def _beta(config: TrainConfig, method: type[PairMixer]) -> tuple[float, bool]:
    """Return how ratios are drawn: `alpha` and `max_lambda`, by default those of the method."""
    alpha = method.alpha if config.alpha is None else config.alpha
    return alpha, method.max_lambda if config.max_lambda is None else config.max_lambda
