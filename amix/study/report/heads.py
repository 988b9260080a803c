"""The page about what heads attend to."""

from collections.abc import Callable, Sequence
from functools import partial
from html import escape

import numpy as np

from amix.study.attention.analysis import Analysis, HeadProfile
from amix.study.report.charts import heat_map
from amix.study.report.page import page, table

_KINDS = 12  # those that differ most from an even spread are shown; the JSON has all


def analysis_page(analysis: Analysis, shards: str) -> str:
    """Return the page: maps layer x head of special tokens and entropy, layer x place, kinds of words, agreement."""
    heads = analysis.heads
    layers = sorted({each.layer for each in heads})
    special = sorted({name for each in heads for name in each.special})
    sections = [
        ("How evenly content is attended to", _map(heads, lambda each: each.entropy, "entropy; 1 is even")),
        (
            "What special tokens receive",
            "".join(_map(heads, partial(_share, name), f"share of {name}") for name in special),
        ),
        (
            "Where in the text",
            heat_map(
                [
                    np.mean([each.position for each in heads if each.layer == layer], axis=0).tolist()
                    for layer in layers
                ],
                [f"layer {layer}" for layer in layers],
                [str(tenth) for tenth in range(1, len(heads[0].position) + 1)],
                "share divided by an even share, by tenth of the text",
            ),
        ),
        ("Which kinds of words", _kinds(heads)),
        ("Which layers agree", _agreement(analysis, layers)),
    ]
    return page("What the heads attend to", f"{analysis.texts:,} texts of {shards}.", sections)


def _share(name: str, profile: HeadProfile) -> float:
    return profile.special.get(name, 0.0)


def _map(heads: Sequence[HeadProfile], value: Callable[[HeadProfile], float], name: str) -> str:
    layers = sorted({each.layer for each in heads})
    columns = sorted({each.head for each in heads})
    found = {(each.layer, each.head): value(each) for each in heads}
    values = [[found.get((layer, head)) for head in columns] for layer in layers]
    return heat_map(values, [f"layer {layer}" for layer in layers], [str(head) for head in columns], name)


def _kinds(heads: Sequence[HeadProfile]) -> str:
    kinds = sorted({kind for each in heads for kind in each.kinds})
    if not kinds:
        return '<p class="soft">Run amix analyse with --tag to see this.</p>'
    rows = []
    for kind in kinds:
        values = [each.kinds.get(kind, 0.0) for each in heads]
        best = heads[int(np.argmax(values))]
        rows.append((kind, float(np.mean(values)), float(max(values)), f"{best.layer}.{best.head}"))
    rows.sort(key=lambda row: -abs(row[1] - 1.0))
    return (
        '<p class="soft">The share of relevance that a kind receives, divided by its share of the words; 1 is even.</p>'
        + table(["kind", "mean over heads", "largest", "head"], rows[:_KINDS])
        + f'<p class="soft">{escape(str(len(kinds)))} kinds in all; analysis.json has every one.</p>'
    )


def _agreement(analysis: Analysis, layers: Sequence[int]) -> str:
    matrix = np.array(analysis.agreement)
    of_layer = [
        [place for place, each in enumerate(analysis.heads) if each.layer == layer] for layer in layers
    ]
    values: list[list[float | None]] = []
    for one in of_layer:
        row: list[float | None] = []
        for other in of_layer:
            block = [matrix[a, b] for a in one for b in other if a != b]  # a head always agrees with itself
            row.append(float(np.mean(block)) if block else None)
        values.append(row)
    names = [str(layer) for layer in layers]
    return heat_map(
        values, [f"layer {name}" for name in names], names, "mean correlation between the heads of two layers"
    )
