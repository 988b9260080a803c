"""amix: attention-guided mixup for text, with relevance computed once and cached.

The public names load on first use, so that `import amix` costs nothing and needs no torch.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amix.engine.base.errors import AmixError
    from amix.engine.extractor.session import open_session
    from amix.engine.mixing.attentionmix import AttentionMix
    from amix.engine.mixing.losses import soft_cross_entropy
    from amix.engine.mixing.mixer import NoMix
    from amix.engine.mixing.pairmix import SentenceMixup, TMix, WordMixup
    from amix.engine.mixing.ssmix import SSMix
    from amix.loaders.stream.dataset import RelevanceDataset
    from amix.loaders.stream.loader import Reading, RelevanceLoader

__version__ = "0.1.0"

__all__ = [
    "AmixError",
    "AttentionMix",
    "NoMix",
    "Reading",
    "RelevanceDataset",
    "RelevanceLoader",
    "SSMix",
    "SentenceMixup",
    "TMix",
    "WordMixup",
    "__version__",
    "open_session",
    "soft_cross_entropy",
]

_HOMES = {
    "AmixError": "amix.engine.base.errors",
    "AttentionMix": "amix.engine.mixing.attentionmix",
    "NoMix": "amix.engine.mixing.mixer",
    "Reading": "amix.loaders.stream.loader",
    "RelevanceDataset": "amix.loaders.stream.dataset",
    "RelevanceLoader": "amix.loaders.stream.loader",
    "SSMix": "amix.engine.mixing.ssmix",
    "SentenceMixup": "amix.engine.mixing.pairmix",
    "TMix": "amix.engine.mixing.pairmix",
    "WordMixup": "amix.engine.mixing.pairmix",
    "open_session": "amix.engine.extractor.session",
    "soft_cross_entropy": "amix.engine.mixing.losses",
}


def __getattr__(name: str) -> object:
    """Import the module that holds a public name the first time it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'amix' has no attribute '{name}'")
    value: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value  # later look-ups do not come here again
    return value


def __dir__() -> list[str]:
    """List the public names beside what is loaded already."""
    return sorted({*globals(), *__all__})
