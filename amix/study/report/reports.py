"""The pages about a run and about a comparison."""

import shlex
import statistics
from collections.abc import Sequence
from html import escape
from pathlib import Path

from amix.engine.base.errors import AmixError, HeadError
from amix.engine.base.heads import HeadSpec
from amix.study.attention.inspection import Inspector
from amix.study.compare.comparison import COMPARISON, GRID, Comparison, Row, written_grid
from amix.study.compare.summary import BASELINE
from amix.study.compare.tables import DIFFERENCES, SHOWN, SPENT, by_place, noise, spent, spread
from amix.study.report.charts import Interval, heat_map, intervals, lines
from amix.study.report.charts import reliability as diagram
from amix.study.report.page import page, table
from amix.study.report.texts import shaded
from amix.study.runs import RunRecord, load_dev_predictions, load_predictions, predicted_sets
from amix.train.options.dev import Folds, parse_dev
from amix.train.run.files import CONFIG
from amix.train.run.log import HeadLine, LossLine, ScoreLine

_TEXTS = 3
_METRICS = ("accuracy", "macro_f1", "nll", "ece")


def report(folder: Path) -> str:
    """Return the page about a run or a comparison. Raises TrainError for another folder."""
    if (folder / COMPARISON).is_file():
        return comparison_page(folder, Comparison.read(folder), written_grid(folder))
    return run_page(RunRecord.read(folder))


def run_page(run: RunRecord) -> str:
    """Return the page about one run: curves, metrics, reliability, a few texts shaded, and how to run it again."""
    losses = [(line.step, line.loss) for line in run.log if isinstance(line, LossLine)]
    scores = [line for line in run.log if isinstance(line, ScoreLine)]
    rows = [
        [_named(line.name, line.kind), *(line.metrics[metric] for metric in _METRICS)]
        for line in scores
        if line.kind != "dev"
    ]
    curves: dict[str, list[tuple[float, float]]] = {
        metric: [(line.epoch, line.metrics[metric]) for line in scores if line.kind == "dev"]
        for metric in ("accuracy", "nll", "ece")
    }
    again = ["amix", "train", run.shards, "OUT", "--config", CONFIG]
    sections = [
        ("Result", table(["set", *(SHOWN[metric] for metric in _METRICS)], rows) if rows else ""),
        ("Calibration", _calibration(run)),
        ("Training loss", lines({"loss": losses}, "step", "loss")),
        (_judged_on(run).capitalize(), lines(curves, "epoch", "value")),
        ("Texts, shaded by relevance", _texts(run)),
        ("Run it again", _again(again, CONFIG, run.written)),
    ]
    title = f"{run.config.method} on {run.shards}"
    about = f"Run {run.folder}, seed {run.config.seed}."
    if run.config.label_noise:
        about += f" An experiment: {run.config.label_noise:.0%} of its training labels were wrong on purpose."
    return page(title, about, sections)


def comparison_page(folder: Path, comparison: Comparison, written: str) -> str:
    """Return the page about a comparison: a table for each corpus, number of texts and set, and the differences.

    written: the text of `grid.yaml`.
    """
    sections = []
    for place, rows in by_place(comparison.rows):
        names = [name for name in SHOWN if any(name in row.values for row in rows)]
        columns = ["method", "seeds", *(SHOWN[name] for name in names), *SPENT]
        body = [table(columns, [_summary(row, names) for row in rows])]
        for metric in DIFFERENCES:
            found = [
                Interval(row.method, each.mean, each.low, each.high)
                for row in rows
                if (each := row.differences.get(metric)) is not None
            ]
            name = f"{SHOWN[metric]} minus that of {BASELINE}, with 95 % intervals over seeds and texts"
            body.append(intervals(found, name))
        if note := noise(rows):
            body.append(f"<p>{escape(note)}</p>")
        sections += [(place, "".join(body)), (f"{place}: heads", _head_map(rows))]
    sections.append(("Run it again", _again(["amix", "compare", GRID, "OUT"], GRID, written)))
    about = f"{len(comparison.grid.methods)} methods; {comparison.grid.model}."
    return page(f"Comparison {folder.name}", about, sections)


def _summary(row: Row, names: Sequence[str]) -> list[object]:
    cells = [spread(row.values.get(name, [])) for name in names]
    return [row.method, len(row.seeds), *cells, *spent(row)]


def _head_map(rows: Sequence[Row]) -> str:
    """Return a map layer x head of accuracy where single heads were compared; nothing for fewer than two."""
    found: dict[tuple[int, int], float] = {}
    for row in rows:
        spec = _parsed(row.method.removeprefix("attentionmix").strip())
        if spec is None or not row.method.startswith("attentionmix") or len(spec.items) != 1:
            continue
        layer, head = spec.items[0]
        if layer is not None and head is not None:
            found[layer, head] = statistics.mean(row.values["accuracy"])
    if len(found) < 2:
        return ""
    layers, heads = sorted({layer for layer, _ in found}), sorted({head for _, head in found})
    return heat_map(
        [[found.get((layer, head)) for head in heads] for layer in layers],
        [f"layer {layer}" for layer in layers],
        [str(head) for head in heads],
        "accuracy by layer and head",
    )


def _parsed(text: str) -> HeadSpec | None:
    try:
        return HeadSpec.parse(text)
    except HeadError:
        return None


def _calibration(run: RunRecord) -> str:
    on_dev = load_dev_predictions(run.folder)
    temperature = None if on_dev is None else on_dev.temperature()
    shown = []  # title, predictions, what their logits are divided by
    for name in predicted_sets(run.folder):
        found = load_predictions(run.folder, name)
        shown.append((name, found, 1.0))
        if temperature is not None:
            shown.append((f"{name}, logits / {temperature:.2f}", found, temperature))
    for name in predicted_sets(run.folder, "ensemble"):
        shown.append((_named(name, "ensemble"), load_predictions(run.folder, name, "ensemble"), 1.0))
    if on_dev is not None:
        shown.append((_judged_on(run), on_dev, 1.0))
    if not shown:
        return ""
    rows = [[title, *found.calibration(divisor).values()] for title, found, divisor in shown]
    diagrams = [
        f"<h3>{escape(title)}</h3>{diagram(**found.reliability(divisor))}" for title, found, divisor in shown
    ]
    note = ""
    if temperature is not None:
        note = f'<p class="soft">The temperature is fitted on the {_judged_on(run)}.</p>'
    return table(["set", "NLL", "Brier", "ECE", "ECE, equal mass", "AURC"], rows) + note + "".join(diagrams)


def _named(name: str, kind: str) -> str:
    return f"{name}, ensemble" if kind == "ensemble" else name


def _judged_on(run: RunRecord) -> str:
    """Return what the epochs were judged on."""
    is_crossed = isinstance(parse_dev(run.inputs.dev), Folds)
    return "training texts, each by a model that was trained without it" if is_crossed else "development set"


def _texts(run: RunRecord) -> str:
    """Return a few training texts with their words shaded by the run's head.

    Nothing where the shards are no longer there, or where one of several heads was drawn for each batch.
    """
    chosen = next((line.head for line in run.log if isinstance(line, HeadLine)), None)
    head = chosen or run.config.head
    if run.config.method != "attentionmix" or _parsed(head) is None:
        return ""
    try:
        inspector = Inspector(run.shards)
        texts = [inspector.text(int(row)) for row in inspector.dataset.rows()[:_TEXTS]]
        words = [shaded(text, inspector.relevance(text, head)) for text in texts]
    except (AmixError, OSError):
        return ""
    note = f'<p class="soft">Head {escape(head)}, the first texts of {escape(run.shards)}.</p>'
    return note + "".join(words)


def _again(command: Sequence[str], name: str, written: str) -> str:
    return f"<pre>{escape(shlex.join(command))}</pre><p>with this {name}:</p><pre>{escape(written)}</pre>"
