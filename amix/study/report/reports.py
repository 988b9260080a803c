"""What the pages say of a run and of a comparison."""

import shlex
import statistics
from collections import defaultdict
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from amix.engine.base.heads import HeadSpec
from amix.study.attention.inspection import Inspector
from amix.study.compare.summary import GRID, SHOWN, SPENT, spread
from amix.study.report.charts import Interval, heat_map, intervals, lines
from amix.study.report.charts import reliability as diagram
from amix.study.report.page import page, table
from amix.study.report.sources import COMPARISON, RunRecord, read_comparison, read_run
from amix.train.run.folder import CONFIG

_TEXTS = 3
_METRICS = ("accuracy", "macro_f1", "nll", "ece")


def report(folder: Path) -> str:
    """Return the page about a run or a comparison. Raises TrainError for another folder."""
    if (folder / COMPARISON).is_file():
        return comparison_page(folder, read_comparison(folder))
    return run_page(read_run(folder))


def run_page(run: RunRecord) -> str:
    """Return the page about one run: curves, metrics, reliability, a few texts shaded, and how to run it again."""
    config = run.config
    losses = [(line["step"], line["loss"]) for line in run.log if "loss" in line]
    dev = [line for line in run.log if line.get("kind") == "dev"]
    evals = [line for line in run.log if line.get("kind") == "eval"]
    rows = [[line["name"], *(line[name] for name in _METRICS)] for line in evals]
    columns = ["set", *(SHOWN[name] for name in _METRICS)]
    sections = [
        ("Result", table(columns, rows) if rows else ""),
        ("Calibration", _calibration(run)),
        ("Training loss", lines({"loss": losses}, "step", "loss")),
        (
            "Development set",
            lines({name: [(line["epoch"], line[name]) for line in dev] for name in ("accuracy", "nll", "ece")},
                  "epoch", "value"),
        ),
        ("Texts, shaded by relevance", _texts(run)),
        (
            "The same again",
            _again(["amix", "train", config["shards"], "OUT", "--config", CONFIG], CONFIG, run.written),
        ),
    ]  # fmt: skip
    title = f"{config['method']} on {config['shards']}"
    return page(title, f"Run {run.folder}, seed {config['seed']}.", sections)


def comparison_page(folder: Path, document: dict[str, Any]) -> str:
    """Return the page about a comparison: per cache, size and set a table, and differences with their intervals."""
    places: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in document["rows"]:
        size = "all" if row["size"] is None else f"{row['size']:,}"
        places[f"{row['cache']}, {size} training texts, {row['eval']}"].append(row)
    sections = []
    for place, rows in places.items():
        names = [name for name in SHOWN if any(name in row["values"] for row in rows)]
        columns = ["method", "seeds", *(SHOWN[name] for name in names), *SPENT]
        body = [table(columns, [_summary(row, names) for row in rows])]
        for metric in ("accuracy", "nll", "ece"):
            found = [
                Interval(row["method"], each["mean"], *each["interval"])
                for row in rows
                if (each := row["differences"].get(metric)) is not None
            ]
            body.append(
                intervals(
                    found, f"{SHOWN[metric]} minus that of none, with 95 % intervals over seeds and texts"
                )
            )
        sections += [(place, "".join(body)), (f"{place}: heads", _head_map(rows))]
    grid = document["grid"]
    about = f"{len(grid['methods'])} methods; {grid['model']}."
    sections.append(("The same again", _again(["amix", "compare", GRID, "OUT"], GRID, document["written"])))
    return page(f"Comparison {folder.name}", about, sections)


def _summary(row: dict[str, Any], names: list[str]) -> list[object]:
    cells = [spread(row["values"].get(name, [])) for name in names]
    return [
        row["method"],
        len(row["seeds"]),
        *cells,
        *(f"{statistics.mean(row['spent'][name]):,.0f}" for name in SPENT),
    ]


def _head_map(rows: list[dict[str, Any]]) -> str:
    """Return a map layer x head of accuracy, where single heads were compared; nothing for fewer than two."""
    found: dict[tuple[int, int], float] = {}
    for row in rows:
        spec = row["method"].removeprefix("attentionmix").strip()
        items = HeadSpec.parse(spec).items if _is_spec(spec) else ()
        layer, head = items[0] if len(items) == 1 else (None, None)
        if row["method"] != spec and layer is not None and head is not None:
            found[layer, head] = statistics.mean(row["values"]["accuracy"])
    if len(found) < 2:
        return ""
    layers, heads = sorted({layer for layer, _ in found}), sorted({head for _, head in found})
    values = [[found.get((layer, head)) for head in heads] for layer in layers]
    return heat_map(
        values,
        [f"layer {layer}" for layer in layers],
        [str(head) for head in heads],
        "accuracy by layer and head",
    )


def _is_spec(text: str) -> bool:
    from amix.engine.base.errors import HeadError

    try:
        HeadSpec.parse(text)
    except HeadError:
        return False
    return True


def _calibration(run: RunRecord) -> str:
    temperature = None if run.dev is None else run.dev.temperature()
    parts, rows = [], []
    selected = {} if run.dev is None else {"development set": run.dev}
    for name, said in {**run.said, **selected}.items():
        shown = {name: 1.0}
        if temperature is not None and said is not run.dev:
            shown[f"{name}, logits / {temperature:.2f}"] = temperature
        for title, divisor in shown.items():
            rows.append([title, *said.calibration(divisor).values()])
            parts.append(f"<h3>{escape(title)}</h3>" + diagram(**said.reliability(divisor)))
    if not rows:
        return ""
    note = (
        "" if temperature is None else '<p class="soft">The temperature is fitted on the development set.</p>'
    )
    return table(["set", "NLL", "Brier", "ECE", "ECE, equal mass"], rows) + note + "".join(parts)


def _texts(run: RunRecord) -> str:
    """Return a few training texts with their words shaded by the run's head.

    Nothing where the shards are no longer there, or where several heads took turns.
    """
    from amix.engine.base.errors import AmixError

    config = run.config
    head = next((line["head"] for line in run.log if line.get("kind") == "head"), config["head"])
    if config["method"] != "attentionmix" or not _is_spec(head):
        return ""
    try:
        inspector = Inspector(config["shards"])
        texts = [inspector.text(int(row)) for row in inspector.dataset.rows()[:_TEXTS]]
        shaded = [_shaded(text, inspector.relevance(text, head)) for text in texts]
    except (AmixError, OSError):
        return ""
    return (
        f'<p class="soft">Head {escape(head)}, the first texts of {escape(config["shards"])}.</p>'
        + "".join(shaded)
    )


def _shaded(text: Any, relevance: Any) -> str:  # noqa: ANN401  an InspectedText and (T,) floats
    peak = max(
        (float(value) for value, inside in zip(relevance, text.content, strict=True) if inside), default=0.0
    )
    words = []
    for token, value, inside in zip(text.tokens, relevance, text.content, strict=True):
        shown, space = (
            (token[2:], "") if token.startswith("##") and len(token) > 2 else (token.lstrip("Ġ▁"), " ")
        )
        share = 0 if not inside or not peak else 100 * float(value) / peak
        kind = "" if inside else ' class="special"'
        words.append(f'{space}<span{kind} style="--share:{share:.0f}%">{escape(shown)}</span>')
    label = text.label if isinstance(text.label, str) else ", ".join(text.label or {})
    return f'<h3>row {text.row}, {escape(label)}</h3><p class="text">{"".join(words)}</p>'


def _again(command: Sequence[str], name: str, written: str) -> str:
    return f"<pre>{escape(shlex.join(command))}</pre><p>with this {name}:</p><pre>{escape(written)}</pre>"
