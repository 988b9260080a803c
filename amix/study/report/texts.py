"""Texts shaded by relevance: in a report, and the page of `amix inspect --html`, whose script computes every mix.

Axes: H heads, T tokens.
"""

import importlib.resources
import json
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amix import __version__
from amix.engine.base.publish import write_atomic
from amix.engine.mixing.attentionmix import AttentionMix
from amix.study.attention.inspection import InspectedText, Inspector, shown_tokens
from amix.study.attention.tokens import readable

_DATA = "__DATA__"


def write_page(
    path: Path,
    inspector: Inspector,
    text: InspectedText,
    other: InspectedText,
    head: str,
    mixer: AttentionMix,
) -> None:
    """Publish a page about two texts: one file that needs no network. head, mixer: the choice when it opens."""
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
    # A text can hold anything, even "</script>". With < escaped, it cannot end the element that it is in.
    encoded = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    encoded = encoded.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    template = (
        importlib.resources.files("amix.study.report").joinpath("texts.html").read_text(encoding="utf-8")
    )
    write_atomic(path, template.replace(_DATA, encoded).encode("utf-8", "backslashreplace"))


def shaded(text: InspectedText, relevance_T: NDArray[np.float32]) -> str:
    """Return a text as HTML, each word darker the more attention it receives, under a heading with row and label."""
    words = []
    for token in shown_tokens(text, relevance_T):
        space = "" if token.is_glued else " "
        kind = ' class="special"' if token.share is None else ""
        words.append(
            f'{space}<span{kind} style="--share:{100 * (token.share or 0.0):.0f}%">{escape(token.word)}</span>'
        )
    label = text.label if isinstance(text.label, str) else ", ".join(text.label or {})
    return f'<h3>row {text.row}, {escape(label)}</h3><p class="text">{"".join(words)}</p>'


def _as_data(text: InspectedText) -> dict[str, object]:
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
