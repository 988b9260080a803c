"""The page about a comparison."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from amix.engine.base.words import counted
from amix.study.compare.comparison import GRID, Comparison, Row
from amix.study.compare.gridfile import as_document
from amix.study.compare.summary import BASELINE
from amix.study.compare.tables import DIFFERENCES, SHOWN, SPENT, by_place, notes, spent, spread
from amix.study.compare.verdict import RULE, in_short, verdict
from amix.study.report.page import Html, explanations, page, paragraph
from amix.study.report.places import again, place_name
from amix.study.report.run import parsed_head
from amix.study.report.tables import Scale, column, heat_map, table, titled
from amix.study.report.tracks import Found, differences
from amix.study.terms import TERMS, explained

_LEAST_RANGE = 0.2  # of the colours of accuracies: ten points to each side of their mean


def comparison_page(folder: Path, comparison: Comparison, written: str) -> str:
    """Return the page: two sentences, then for each corpus, number of texts and set a table and the differences.

    written: the text of `grid.yaml`.
    """
    grid, places = comparison.grid, list(by_place(comparison.rows))
    shown = [name for name in SHOWN if any(name in row.values for row in comparison.rows)]
    sections = []
    for number, (place, rows) in enumerate(places):
        body = [paragraph(in_short(rows)) if len(places) > 1 else "", _means(rows)]
        body += [paragraph(note, "note") for note in notes(rows)]
        body += [explanations([*explained(shown), _SPREAD])] if not number else []
        body += [_differences(rows, metric) for metric in DIFFERENCES]
        body.append(_head_map(rows))
        sections.append((place, "".join(body)))
    command = ["amix", "compare", GRID, "OUT"]
    sections.append(("Run it again", again(command, GRID, written, as_document(grid))))
    lead = paragraph(in_short(comparison.rows), "lead")
    if any(row.differences for row in comparison.rows):
        lead = Html(lead + paragraph(RULE, "soft"))
    methods = "1 method" if len(grid.methods) == 1 else f"{len(grid.methods)} methods"
    about = f"{methods}, fine-tuning {place_name(grid.model)}."
    return page(f"Comparison {folder.resolve().name}", about, sections, lead)


_SPREAD = "± is the standard deviation over the seeds."


def _means(rows: Sequence[Row]) -> Html:
    names = [name for name in SHOWN if any(name in row.values for row in rows)]
    columns = ["method", "seeds", *map(column, names)]
    means = [
        [_named(row), len(row.seeds), *(spread(row.values.get(name, [])) for name in names)] for row in rows
    ]
    costs = table(
        ["method", *(titled(name, "fewer are cheaper") for name in SPENT)],
        [[row.method, *spent(row)] for row in rows],
        "What the runs of a method cost",
    )
    return Html(
        f"{table(columns, means, 'Means over the seeds')}<details><summary>What a run cost</summary>{costs}</details>"
    )


def _named(row: Row) -> object:
    """Return the name of a method, with a note where some of its runs mixed nothing."""
    plain = row.largest_p.count(0.0)
    return (
        titled(row.method, f"{plain} of {counted(len(row.seeds), 'run')} mixed nothing", "alert")
        if plain
        else row.method
    )


def _differences(rows: Sequence[Row], metric: str) -> Html:
    found = [
        Found(row.method, row.differences[metric], row.corrected.get(metric), verdict(row, metric))
        for row in rows
        if metric in row.differences
    ]
    return differences(found, TERMS[metric], BASELINE)


def _head_map(rows: Sequence[Row]) -> str:
    """Return a map layer x head of accuracy where single heads were compared; nothing for fewer than two."""
    found: dict[tuple[int, int], float] = {}
    for row in rows:
        spec = parsed_head(row.method.removeprefix("attentionmix").strip())
        if spec is None or not row.method.startswith("attentionmix") or len(spec.items) != 1:
            continue
        layer, head = spec.items[0]
        if layer is not None and head is not None:
            found[layer, head] = statistics.mean(row.values["accuracy"])
    if len(found) < 2:
        return ""
    layers, heads = sorted({layer for layer, _ in found}), sorted({head for _, head in found})
    return "<h3>Accuracy by layer and head (higher is better)</h3>" + heat_map(
        [[found.get((layer, head)) for head in heads] for layer in layers],
        list(map(str, layers)),
        list(map(str, heads)),
        _scale(list(found.values())),
        "In percent",
    )


def _scale(accuracies: Sequence[float]) -> Scale:
    """Return colours around the mean accuracy, whose range is not narrower for values that are alike."""
    middle = round(statistics.mean(accuracies), 2)
    reach = max(_LEAST_RANGE / 2, *(abs(each - middle) for each in accuracies))
    return Scale(low=middle - reach, high=middle + reach, middle=middle, percent=True)
