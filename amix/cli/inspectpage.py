"""The page of `amix inspect --html`: one file, without a network, whose script recomputes every mix.

Axes: H heads, T tokens.
"""

import importlib.resources
import json
from pathlib import Path
from typing import Any

from amix import __version__
from amix.engine.base.publish import write_atomic
from amix.engine.mixing.attentionmix import AttentionMix
from amix.study.attention.inspection import InspectedText, Inspector, readable

_DATA = "__DATA__"


def write_page(
    path: Path,
    inspector: Inspector,
    text: InspectedText,
    other: InspectedText,
    head: str,
    mixer: AttentionMix,
) -> None:
    """Publish the page. head, mixer: what is chosen when it opens."""
    data = {
        "version": __version__,
        "relevance": inspector.manifest.relevance,
        "heads": [list(head) for head in inspector.manifest.heads],
        "texts": [_as_data(text), _as_data(other)],
        "chosen": {
            "head": head,
            "strength": mixer.strength,
            "sharpness": mixer.sharpness,
            "label_weight": mixer.label_weight,
            "special": mixer.special,
        },
    }
    # A text may hold anything, "</script>" included: with < escaped, no text can end the element it stands in.
    encoded = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    encoded = encoded.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    template = importlib.resources.files("amix.cli").joinpath("inspect.html").read_text(encoding="utf-8")
    write_atomic(path, template.replace(_DATA, encoded).encode("utf-8", "backslashreplace"))


def _as_data(text: InspectedText) -> dict[str, Any]:
    words = [readable(token) for token in text.tokens]
    label = text.label if isinstance(text.label, dict) else {} if text.label is None else {text.label: 1.0}
    return {
        "row": text.row,
        "label": label,
        "tokens": [word for word, _ in words],
        "glued": [int(is_glued) for _, is_glued in words],
        "content": [int(inside) for inside in text.content],
        "relevance": [[float(f"{value:.6g}") for value in row_T] for row_T in text.relevance_HT.tolist()],
    }
