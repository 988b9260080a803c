"""What the runs of a comparison amount to: a row per cache, set, size and method; files for people and programs."""

import csv
import io
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amix.engine.base import canonical, publish
from amix.study.compare.grid import Cell, Grid, as_document
from amix.study.compare.outcome import Outcome
from amix.study.compare.statistics import (
    Difference,
    Weighted,
    holm,
    paired_difference,
    resampled_metrics,
    weighted_metrics,
)
from amix.train.options.file import write_yaml

BASELINE = "none"
GRID = "grid.yaml"
METRICS = ("accuracy", "macro_f1", "nll", "brier", "ece")
SCALED = ("nll", "ece")
COMPARED = ("accuracy", "nll", "brier", "ece")
BIASED = ("ece",)  # absolute values of binned means: noise adds to them
SHOWN = {  # the columns of a table, by the metric that they hold
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "nll": "NLL",
    "ece": "ECE",
    "scaled nll": "NLL, scaled",
    "scaled ece": "ECE, scaled",
}
_RESAMPLES = 2_000
SPENT = ("steps", "tokens", "seconds")


@dataclass(frozen=True, kw_only=True)
class Row:
    """The runs of one method on one set.

    size: training texts, None = all.  values: per metric, a number per seed; `scaled nll` after temperature scaling.
    spent: per seed steps, tokens and seconds.  largest_p: per seed the most that `p auto` came to, None without it.
    differences: to the baseline, with p-values as `holm` corrects them.
    """

    cache: str
    evaluated: str
    size: int | None
    method: str
    seeds: tuple[int, ...]
    values: dict[str, list[float]]
    spent: dict[str, list[float]]
    largest_p: list[float | None]
    differences: dict[str, Difference]
    corrected: dict[str, float]


def summarise(grid: Grid, outcomes: Sequence[Outcome], seed: int = 0) -> list[Row]:
    """Return a row for every cache, set, size and method, in the order of the grid. seed: of resampling.

    p-values are corrected over all methods, sizes, sets and caches, for each metric by itself.
    """
    groups: dict[tuple[str, str, int | None, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        cell = outcome.cell
        for name in grid.caches[cell.cache].evals:
            groups[cell.cache, name, cell.size, cell.method].append(outcome)
    differences = {
        key: _differences(members, groups.get((*key[:3], BASELINE), []), key[1], seed)
        for key, members in groups.items()
        if key[3] != BASELINE
    }
    corrected: dict[tuple[Any, str], float] = {}
    for metric in COMPARED:
        p_values = {
            key: found[metric].p
            for key, found in differences.items()
            if metric in found and found[metric].p is not None
        }
        corrected |= {(key, metric): p for key, p in holm(p_values).items()}  # type: ignore[arg-type]
    return [
        Row(
            cache=key[0],
            evaluated=key[1],
            size=key[2],
            method=key[3],
            seeds=tuple(member.cell.seed for member in members),
            values=_values(members, key[1]),
            spent={name: [float(member.result[name]) for member in members] for name in SPENT},
            largest_p=[member.result["largest_p"] for member in members],
            differences=differences.get(key, {}),
            corrected={metric: corrected[key, metric] for metric in COMPARED if (key, metric) in corrected},
        )
        for key, members in groups.items()
    ]


def _values(members: Sequence[Outcome], name: str) -> dict[str, list[float]]:
    values: dict[str, list[float]] = defaultdict(list)
    for member in members:
        result = member.result
        found = {**result["calibration"][name], **result["eval"][name]}
        for metric in METRICS:
            values[metric].append(found[metric])
        if name in result["scaled"]:
            for metric in SCALED:
                values[f"scaled {metric}"].append(result["scaled"][name][metric])
    return dict(values)


def _differences(
    members: Sequence[Outcome], baseline: Sequence[Outcome], name: str, seed: int
) -> dict[str, Difference]:
    """Return the differences over the seeds that both have; none where they share none."""
    ours = {member.cell.seed: _metrics(member, name) for member in members}
    theirs = {member.cell.seed: _metrics(member, name) for member in baseline}
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        return {}
    metrics = [both[each][0] for both in (ours, theirs) for each in shared]
    drawn = resampled_metrics(metrics, ours[shared[0]][1], _RESAMPLES, np.random.default_rng(seed))
    return {
        metric: paired_difference(
            [each[metric] for each in drawn[: len(shared)]],
            [each[metric] for each in drawn[len(shared) :]],
            np.random.default_rng(seed + 1),
            biased=metric in BIASED,
        )
        for metric in COMPARED
    }


def _metrics(outcome: Outcome, name: str) -> tuple[dict[str, Weighted], int]:
    logits_NC, truth, multi_label = outcome.said(name)
    return weighted_metrics(logits_NC, truth, multi_label=multi_label), len(logits_NC)


def write_summary(out: Path, grid: Grid, outcomes: Sequence[Outcome], rows: Sequence[Row]) -> None:
    """Write `grid.yaml`, `runs.csv` (a line a run and set), `comparison.json` and `table.md` to `out`."""
    write_yaml(out / GRID, as_document(grid))
    publish.write_atomic(out / "runs.csv", _csv(grid, outcomes).encode())
    document = {"grid": as_document(grid), "rows": [_as_json(row) for row in rows]}
    publish.write_atomic(out / "comparison.json", canonical.dumps(document) + b"\n")
    publish.write_atomic(out / "table.md", ("\n".join(markdown(rows)) + "\n").encode())


def markdown(rows: Sequence[Row]) -> list[str]:
    """Return the lines of a table: mean ± standard deviation over seeds, and differences to the baseline."""
    lines: list[str] = []
    for place, members in _by_place(rows):
        lines += [
            *([""] if lines else []),
            f"**{place}**",
            "",
            f"| method | seeds | {' | '.join((*SHOWN.values(), *SPENT))} |",
            "|---" * (2 + len(SHOWN) + len(SPENT)) + "|",
        ]
        for row in members:
            shown = [spread(row.values.get(name, [])) for name in SHOWN]
            spent = [f"{statistics.mean(row.spent[name]):,.0f}" for name in SPENT]
            lines.append(f"| {_cell(row.method)} | {len(row.seeds)} | {' | '.join([*shown, *spent])} |")
        compared = [row for row in members if row.differences]
        if compared:
            lines += ["", f"| minus {BASELINE} | seeds | accuracy | NLL | ECE |", "|---|---|---|---|---|"]
        for row in compared:
            cells = [_difference(row, metric) for metric in ("accuracy", "nll", "ece")]
            shared = next(iter(row.differences.values())).seeds
            lines.append(f"| {_cell(row.method)} | {shared} | {' | '.join(cells)} |")
        for row in members:
            if (plain := row.largest_p.count(0.0)) > 0:
                runs = f"{plain} of {len(row.seeds)} runs"
                lines += [
                    "",
                    f"{_cell(row.method)}: p auto mixed nothing in {runs}, which are plain fine-tuning.",
                ]
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _by_place(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    places: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        size = "all training texts" if row.size is None else f"{row.size} training texts"
        places[f"{row.cache}, {size}, {row.evaluated}"].append(row)
    yield from places.items()


def spread(values: Sequence[float]) -> str:
    """Return the mean ± the standard deviation where there are several values, a dash where there is none."""
    if not values:
        return "-"
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{deviation}"


def _difference(row: Row, metric: str) -> str:
    found = row.differences[metric]
    p = f", p {row.corrected[metric]:.3f}" if metric in row.corrected else ""
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]{p}"


def _as_json(row: Row) -> dict[str, Any]:
    return {
        "cache": row.cache,
        "eval": row.evaluated,
        "size": row.size,
        "method": row.method,
        "seeds": list(row.seeds),
        "values": row.values,
        "spent": row.spent,
        "largest_p": row.largest_p,
        "differences": {
            metric: {
                "mean": each.mean,
                "interval": [each.low, each.high],
                "p": each.p,
                "p_holm": row.corrected.get(metric),
                "seeds": each.seeds,
            }
            for metric, each in row.differences.items()
        },
    }


def _csv(grid: Grid, outcomes: Sequence[Outcome]) -> str:
    text = io.StringIO()
    columns = ["cache", "eval", "size", "method", "seed", *METRICS, *(f"scaled_{name}" for name in SCALED)]
    writer = csv.writer(text, lineterminator="\n")
    of_run = ("temperature", "epoch", "largest_p", *SPENT)
    writer.writerow([*columns, *of_run])
    for outcome in outcomes:
        cell: Cell = outcome.cell
        for name in grid.caches[cell.cache].evals:
            values = {metric: found[0] for metric, found in _values([outcome], name).items()}
            writer.writerow(
                [
                    *(cell.cache, name, "all" if cell.size is None else cell.size, cell.method, cell.seed),
                    *(values[metric] for metric in METRICS),
                    *(values.get(f"scaled {metric}") for metric in SCALED),
                    *(outcome.result[field] for field in of_run),
                ]
            )
    return text.getvalue()
