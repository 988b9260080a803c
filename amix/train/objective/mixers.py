"""From the options of a run to its mixer: the one place where a method's name becomes a class."""

from typing import Any, assert_never

from amix.engine.mixing.attentionmix import AttentionMix
from amix.engine.mixing.mixer import Mixer, NoMix
from amix.engine.mixing.pairmix import SentenceMixup, TMix, WordMixup
from amix.engine.mixing.ssmix import SSMix
from amix.train.model.hidden import deepest_site
from amix.train.options.config import AUTO, TrainConfig

START = 0.0  # where p=auto begins: what a model hardly knows yet it learns fastest from clean texts
_GAIN = 2.0  # a gap of 0.25, as small sets leave, has every second row mixed after one epoch, all after two


def followed(p: float, gap: float) -> float:
    """Return the next epoch's probability of being mixed, from this one's and the confidence gap at its end.

    gap: mean confidence minus accuracy on the development set. Above 0 the model is surer of itself than it is right,
    which mixing counters; below 0 it is less sure, which mixing adds to.
    """
    return min(1.0, max(0.0, p + _GAIN * gap))


def build_mixer(config: TrainConfig, network: Any) -> Mixer:  # noqa: ANN401  a transformers classifier
    """Return the mixer of a configuration.

    config: settled.  network: unwrapped; `layers=auto` is scaled to it.
    """
    pairing: dict[str, Any] = {
        "p": START if config.p == AUTO else config.p,
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
            layers = config.layer_numbers(network.config.num_hidden_layers, deepest_site(network))
            return TMix(**pairing, **beta, layers=layers)
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
