"""The page about what heads attend to."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from amix.study.attention.analysis import Analysis, HeadProfile
from amix.study.report.page import page, paragraph
from amix.study.report.places import place_name
from amix.study.report.tables import SHARES, Scale, heat_map, table

_KINDS = 12  # those that differ most from an even spread are shown; the JSON has all
_EVEN = Scale(low=0.0, high=2.0, middle=1.0)  # of shares divided by an even share
_CORRELATION = Scale(low=-1.0, high=1.0, middle=0.0)


def analysis_page(analysis: Analysis, shards: str) -> str:
    """Return the page: how evenly heads attend, to which special tokens, places and kinds of words, and which agree.

    Where there are several layers, places and agreement are means over the heads of a layer; with one layer they are
    shown head by head.
    """
    heads = analysis.heads
    special = sorted({name for each in heads for name in each.special})
    sections = [
        (
            "How evenly words are attended to",
            paragraph(
                "The entropy of a head's attention to the words of a text, as a share of the largest possible. At "
                "100 % every word receives the same, at 0 % one word receives everything."
            )
            + _map(heads, lambda each: each.entropy, "Evenness in percent"),
        ),
        (
            "What special tokens receive",
            paragraph("Special tokens belong to the tokenizer, not to the text. Mixing leaves them out.")
            + '<div class="plots">'
            + "".join(
                _map(heads, partial(_share, name), f"Share of all attention that {name} receives, in percent")
                for name in special
            )
            + "</div>"
            if special
            else "",
        ),
        ("Where in the text", _places(heads)),
        ("Which kinds of words", _kinds(heads)),
        ("Which heads agree", _agreement(analysis)),
    ]
    return page("What the heads attend to", f"{analysis.texts:,} texts of {place_name(shards)}.", sections)


def _share(name: str, profile: HeadProfile) -> float:
    return profile.special.get(name, 0.0)


def _map(heads: Sequence[HeadProfile], value: Callable[[HeadProfile], float], name: str) -> str:
    columns = sorted({each.head for each in heads})
    found = {(each.layer, each.head): value(each) for each in heads}
    values = [[found.get((layer, head)) for head in columns] for layer in _layers(heads)]
    return heat_map(values, list(map(str, _layers(heads))), list(map(str, columns)), SHARES, name)


def _layers(heads: Sequence[HeadProfile]) -> list[int]:
    return sorted({each.layer for each in heads})


def _rows(heads: Sequence[HeadProfile]) -> tuple[str, list[str], list[list[int]]]:
    """Return what a row of a map is, the rows' names, and the heads whose mean each shows."""
    layers = _layers(heads)
    if len(layers) == 1:
        return (
            "head",
            [f"{each.layer}.{each.head}" for each in heads],
            [[place] for place in range(len(heads))],
        )
    of_layer = [[place for place, each in enumerate(heads) if each.layer == layer] for layer in layers]
    return "layer", list(map(str, layers)), of_layer


def _places(heads: Sequence[HeadProfile]) -> str:
    row, names, members = _rows(heads)
    position = np.array([each.position for each in heads])
    tenths = [str(tenth) for tenth in range(1, position.shape[1] + 1)]
    values = [position[each].mean(axis=0).tolist() for each in members]
    return paragraph(
        "The attention that a tenth of the text receives, divided by its share of the words. At 1 it receives its "
        "share; orange is more, blue less."
    ) + heat_map(values, names, tenths, _EVEN, "Attention by tenth of the text", row=row, column="tenth")


def _kinds(heads: Sequence[HeadProfile]) -> str:
    kinds = sorted({kind for each in heads for kind in each.kinds})
    if not kinds:
        return paragraph("Run amix analyse with --tag to see this.", "soft")
    rows = []
    for kind in kinds:
        values = [each.kinds.get(kind, 0.0) for each in heads]
        best = heads[int(np.argmax(values))]
        rows.append((kind, float(np.mean(values)), float(max(values)), f"{best.layer}.{best.head}"))
    rows.sort(key=lambda row: -abs(row[1] - 1.0))
    return (
        paragraph(
            "The attention that a kind of word receives, divided by its share of the words. At 1 it receives its share."
        )
        + table(["kind", "mean over heads", "largest", "in head"], rows[:_KINDS], "Kinds of words")
        + paragraph(f"{len(kinds)} kinds in all; analysis.json has every one.", "soft")
    )


def _agreement(analysis: Analysis) -> str:
    """Return a map of mean correlations; nothing for a single head."""
    row, names, members = _rows(analysis.heads)
    if len(analysis.heads) < 2:
        return ""
    matrix = np.array(analysis.agreement)
    values: list[list[float | None]] = []
    for one in members:
        line: list[float | None] = []
        for other in members:
            block = [matrix[a, b] for a in one for b in other if a != b]  # a head always agrees with itself
            line.append(float(np.mean(block)) if block else None)
        values.append(line)
    columns = [name.rpartition(".")[2] for name in names]
    what = "two heads" if row == "head" else "the heads of two layers"
    return paragraph(
        f"The correlation of what {what} attend to, over the words of a text. At 1 they attend to the same words; at 0 "
        "one says nothing about the other."
    ) + heat_map(values, names, columns, _CORRELATION, "Mean correlation", row=row, column=row)
