"""From the options of a run to its mixer: the one place where a method's name becomes a class."""

import math
from typing import Any, assert_never

from amix.engine.attentionmix import AttentionMix
from amix.engine.mixing import Mixer, NoMix
from amix.engine.pairmix import SentenceMixup, TMix, WordMixup
from amix.engine.ssmix import SSMix
from amix.train.config import AUTO, EVEN, TrainConfig

_MOST_CHANGE = 0.2  # of it in an epoch: what a model knows little of yet has a temperature without a bound


def followed(p: float, temperature: float) -> float:
    """Return the next epoch's probability of being mixed, from this one's and the temperature that fits its end.

    Above 1 the model is surer of itself than it is right, which mixing counters; below 1 it is less sure.
    """
    change = min(_MOST_CHANGE, max(-_MOST_CHANGE, math.log(temperature)))
    return min(1.0, max(0.0, p + change))


def build_mixer(config: TrainConfig, depth: int) -> Mixer:
    """Return the mixer of a configuration.

    config: settled.  depth: number of layers of the model, which `layers=auto` is scaled to.
    """
    pairing: dict[str, Any] = {
        "p": EVEN if config.p == AUTO else config.p,
        "partner": config.partner,
    }
    beta = {name: value for name in ("alpha", "max_lambda") if (value := getattr(config, name)) is not None}
    match config.method:
        case "none":
            return NoMix()
        case "wordmixup":
            return WordMixup(**pairing, **beta, pad=config.pad)
        case "sentencemixup":
            return SentenceMixup(**pairing, **beta)
        case "tmix":
            return TMix(**pairing, **beta, layers=config.layer_numbers(depth))
        case "ssmix":
            return SSMix(**pairing, span_share=config.span_share)
        case "attentionmix":
            return AttentionMix(
                **pairing,
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
