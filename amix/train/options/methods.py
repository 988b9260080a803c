"""The methods of mixing: which options each uses, and presets of them. Nothing is imported but types."""

from typing import Any, Literal

Method = Literal["none", "wordmixup", "sentencemixup", "tmix", "ssmix", "attentionmix"]

# Options that only some methods use, so that the CLI can say which ones it ignores.
_MIXED = frozenset({"p", "partner", "clean_weight"})
USES: dict[str, frozenset[str]] = {
    "none": frozenset(),
    "wordmixup": _MIXED | {"alpha", "max_lambda", "pad"},
    "sentencemixup": _MIXED | {"alpha", "max_lambda"},
    "tmix": _MIXED | {"alpha", "max_lambda", "layers"},
    "ssmix": _MIXED | {"span_share"},
    "attentionmix": _MIXED
    | {
        "head",
        "relevance_source",
        "strength",
        "sharpness",
        "level",
        "label_weight",
        "special",
        "alpha",
        "tail",
    },
}
METHOD_OPTIONS = frozenset().union(*USES.values())

# Options under one name. `paper`: mixing as in AttentionMix's source (arXiv 2309.11104), every row at full strength.
PRESETS: dict[str, dict[str, Any]] = {  # each value of its option's type
    "paper": {
        "p": 1.0,
        "partner": "random",
        "clean_weight": 0.0,
        "strength": 1.0,
        "sharpness": 1.0,
        "level": "embedding",
        "label_weight": "ratio",
        "special": "drop",
        "tail": "keep",
        "alpha": None,
    }
}
