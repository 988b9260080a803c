"""From the options of a run to its mixer: the one place where a method's name becomes a class."""

from typing import Any, assert_never

from amix.engine.attentionmix import AttentionMix
from amix.engine.mixing import Mixer, NoMix
from amix.engine.pairmix import SentenceMixup, TMix, WordMixup
from amix.engine.ssmix import SSMix
from amix.train.config import TrainConfig


def build_mixer(config: TrainConfig, depth: int) -> Mixer:
    """Return the mixer of a configuration.

    depth: number of layers of the model, which `layers=auto` is scaled to.
    """
    pairing: dict[str, Any] = {"p": config.p, "partner": config.partner}
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
            )
        case _:
            assert_never(config.method)
