"""The tables of a comparison: Markdown and CSV for people and spreadsheets, and the files in its folder."""

import csv
import io
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from amix.engine.base import publish
from amix.engine.base.words import counted
from amix.study.compare.comparison import GRID, Comparison, Row
from amix.study.compare.grid import Grid
from amix.study.compare.gridfile import as_document
from amix.study.compare.outcome import Outcome, with_ensembles
from amix.study.compare.summary import BASELINE, METRICS, SCALED, values_of
from amix.study.compare.verdict import RULE, in_short
from amix.study.terms import TERMS, signed
from amix.train.options.file import write_yaml

SHOWN = ("accuracy", "macro_f1", "nll", "ece", "aurc", "scaled nll", "scaled ece")  # the metrics in a table
SPENT = ("steps", "tokens", "seconds")
DIFFERENCES = ("accuracy", "nll", "ece", "aurc")


def write_summary(out: Path, grid: Grid, outcomes: Sequence[Outcome], rows: Sequence[Row]) -> None:
    """Write `grid.yaml`, `runs.csv` (a line for each run and set), `comparison.json` and `table.md` to `out`."""
    write_yaml(out / GRID, as_document(grid))
    publish.write_text(out / "runs.csv", runs_csv(grid, outcomes))
    Comparison(grid=grid, rows=tuple(rows)).write(out)
    publish.write_text(out / "table.md", "\n".join(markdown(rows)) + "\n")


def markdown(rows: Sequence[Row]) -> list[str]:
    """Return the lines of a table: mean ± standard deviation over seeds, and differences to the baseline.

    They begin with two sentences that sum it up.
    """
    lines = [in_short(rows)]
    if any(row.differences for row in rows):
        lines += ["", RULE]
    for place, members in by_place(rows):
        names = [TERMS[name].name for name in SHOWN]
        lines += [
            "",
            f"**{place}**",
            "",
            f"| method | seeds | {' | '.join((*names, *SPENT))} |",
            "|---" * (2 + len(SHOWN) + len(SPENT)) + "|",
        ]
        for row in members:
            shown = [spread(row.values.get(name, [])) for name in SHOWN]
            lines.append(f"| {_cell(row.method)} | {len(row.seeds)} | {' | '.join([*shown, *spent(row)])} |")
        compared = [row for row in members if row.differences]
        if compared:
            heads = " | ".join(f"{TERMS[each].name} ({TERMS[each].direction})" for each in DIFFERENCES)
            lines += ["", f"| minus {BASELINE} | seeds | {heads} |", "|---" * (2 + len(DIFFERENCES)) + "|"]
        for row in compared:
            cells = [_difference(row, metric) for metric in DIFFERENCES]
            lines.append(f"| {_cell(row.method)} | {shared_seeds(row)} | {' | '.join(cells)} |")
        for note in notes(members):
            lines += ["", _cell(note)]
    return lines


def notes(members: Sequence[Row]) -> list[str]:
    """Return what a reader of a table of these rows must know: wrong labels, runs that mixed nothing, unequal seeds."""
    said = [note] if (note := _noise(members)) else []
    for row in members:
        if (plain := row.largest_p.count(0.0)) > 0:
            runs = f"{plain} of {counted(len(row.seeds), 'run')}, which {'is' if plain == 1 else 'are'}"
            said.append(f"{row.method}: p auto mixed nothing in {runs} plain fine-tuning.")
    counts = sorted({len(row.seeds) for row in members}, reverse=True)
    if len({frozenset(row.seeds) for row in members}) > 1:
        which = "different" if len(counts) == 1 else " or ".join(map(str, counts))
        said.append(
            f"The methods have {which} seeds. So compare them by their differences to {BASELINE}, which use only "
            "seeds that both have, and not by the means."
        )
    return said


def shared_seeds(row: Row) -> int:
    """Return how many seeds a row that was compared shares with the baseline."""
    return next(iter(row.differences.values())).seeds


def by_place(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Yield the rows of each corpus, number of training texts and set, with a heading that names them."""
    places: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        texts = "all training texts" if row.samples is None else f"{row.samples} training texts"
        places[f"{row.corpus}, {texts}, {row.evaluated}"].append(row)
    yield from places.items()


def spread(values: Sequence[float]) -> str:
    """Return the mean ± the standard deviation where there are several values, a dash where there is none."""
    if not values:
        return "-"
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{deviation}"


def spent(row: Row) -> list[str]:
    """Return the mean steps, tokens and seconds of the runs of a row."""
    return [f"{statistics.mean(row.spent[name]):,.0f}" for name in SPENT]


def _noise(members: Sequence[Row]) -> str:
    """Return a sentence on the labels that were made wrong in the runs of these rows; nothing where none were."""
    changed = {row.method: [each for each in row.changed_labels if each is not None] for row in members}
    found = [f"{method} {statistics.mean(each):,.1f}" for method, each in changed.items() if each]
    return f"Training labels that were wrong on purpose, mean over runs: {', '.join(found)}." if found else ""


def runs_csv(grid: Grid, outcomes: Sequence[Outcome]) -> str:
    """Return a line for each run and set, under a line of column names."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    scaled = [f"scaled_{name}" for name in SCALED]
    writer.writerow(
        [
            *("corpus", "eval", "samples", "method", "seed", *METRICS, *scaled),
            *("temperature", "epoch", "largest_p", "changed_labels", *SPENT),
        ]
    )
    for outcome in with_ensembles(outcomes):
        cell, result = outcome.cell, outcome.result
        for name in grid.corpora[cell.corpus].evals:
            values = {metric: found[0] for metric, found in values_of([outcome], name).items()}
            writer.writerow(
                [
                    *(cell.corpus, name, "all" if cell.samples is None else cell.samples),
                    *(cell.method, cell.seed),
                    *(values[metric] for metric in METRICS),
                    *(values.get(f"scaled {metric}") for metric in SCALED),
                    *(result.temperature, result.epoch, result.largest_p, result.changed_labels),
                    *(result.steps, result.tokens, result.seconds),
                ]
            )
    return text.getvalue()


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _difference(row: Row, metric: str) -> str:
    found = row.differences.get(metric)
    if found is None:  # in a document from before the metric was compared
        return "-"
    p = f", p {row.corrected[metric]:.3f}" if metric in row.corrected else ""
    return f"{signed(found.mean)} [{signed(found.low)}, {signed(found.high)}]{p}"
