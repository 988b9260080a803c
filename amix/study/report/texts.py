"""Texts shaded by relevance: in a report, and the page of `amix inspect --html`, whose script computes every mix.

Axes: H heads, T tokens.
"""

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amix import __version__
from amix.engine.base.publish import write_atomic
from amix.engine.mixing.attentionmix import AttentionMix
from amix.loaders.shards.manifest import Manifest
from amix.study.attention.inspection import FULL, InspectedText, shown_tokens
from amix.study.attention.tokens import readable
from amix.study.report.page import Html, asset, document

_MOST_VALUES = 400_000  # of relevance on a page, about 3 MB


def write_page(
    path: Path,
    manifest: Manifest,
    text: InspectedText,
    partners: Sequence[InspectedText],
    head: str,
    mixer: AttentionMix,
) -> None:
    """Publish a page about a text and its mix with one of `partners`: one file that needs no network.

    manifest: of the cache that holds them.
    partners: as many as the page has room for, the first one chosen when it opens.  head, mixer: also when it opens.
    """
    texts, values = [text], text.relevance_HT.size
    for each in partners:
        values += each.relevance_HT.size
        if len(texts) > 1 and values > _MOST_VALUES:
            break
        texts.append(each)
    data = {
        "version": __version__,
        "relevance": manifest.relevance,
        "heads": [list(head) for head in manifest.heads],
        "full": FULL,
        "texts": [_as_data(each) for each in texts],
        "chosen": {
            "head": head,
            "with": texts[1].row,
            "strength": mixer.strength,
            "sharpness": mixer.sharpness,
            "label_weight": mixer.label_weight,
            "special": mixer.special,
        },
    }
    # A text can hold anything, even "</script>". With < escaped, it cannot end the element that it is in.
    encoded = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    encoded = encoded.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    body = (
        f'{asset("texts.html")}<script type="application/json" id="data">{encoded}</script>\n'
        f"<script>\n{asset('texts.js')}</script>"
    )
    page = document(
        f"Row {text.row}: words and their attention", body, asset("page.css") + asset("texts.css")
    )
    write_atomic(path, page.encode("utf-8", "backslashreplace"))


def legend() -> Html:
    """Return what the shades of `shaded` stand for."""
    return Html(
        '<div class="scale"><span>none</span><i class="ramp"></i>'
        f"<span>{FULL:g} times the average word of the text, and more</span></div>"
    )


def shaded(text: InspectedText, relevance_T: NDArray[np.float32]) -> Html:
    """Return a text as HTML, each word darker the more attention it receives, under a heading with row and label."""
    words = []
    for token in shown_tokens(text, relevance_T):
        space = "" if token.is_glued else " "
        kind = ' class="special"' if token.share is None else ""
        words.append(
            f'{space}<span{kind} style="--share:{100 * (token.share or 0.0):.0f}%">{escape(token.word)}</span>'
        )
    label = text.label if isinstance(text.label, str) else ", ".join(text.label or {})
    return Html(f'<h3>row {text.row}, {escape(label)}</h3><p class="text">{"".join(words)}</p>')


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
