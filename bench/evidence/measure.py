"""Write down what a comparison of the protocol came to, finished or not: the numbers of each run, and the contrasts.

    python bench/evidence/measure.py GRID.yaml OUT docs/results/evidence/GRID.json

OUT is the folder of `amix compare GRID.yaml OUT`. Predictions stay there; what is kept is small.
A method that held out or cross-validated a temperature is measured with it, every other one as it is.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from amix.engine.base import canonical, publish
from amix.study.compare.grid import Cell, Grid
from amix.study.compare.gridfile import as_document, read_grid
from amix.study.compare.outcome import RESULT, Outcome, with_ensembles
from amix.study.compare.statistics import (
    Difference,
    Weighted,
    paired_difference,
    resampled_metrics,
    sign_flip_p,
    weighted_metrics,
)
from amix.study.runs import load_dev_predictions
from amix.train.run.result import KeptResult, TrainResult

HELD_OUT, PLAIN, CROSS = "none held-out", "none", "none cv"
MIX, CONTROL = "attentionmix", "attentionmix random"
BIASED = ("ece",)  # as in `amix compare`
_RESAMPLES = 2_000


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run, on one evaluation set.  metrics: functions of the weights of the texts."""

    cell: Cell
    result: TrainResult
    metrics: Mapping[str, Weighted]
    texts: int


def main(grid_file: Path, out: Path, target: Path) -> None:
    """Write the JSON document."""
    grid = read_grid(grid_file)
    places: dict[tuple[str, str, int | None], dict[str, dict[int, Run]]] = {}
    for outcome in with_ensembles(_with_temperature_of_today(_finished(grid, out))):
        cell = outcome.cell
        for name in grid.corpora[cell.corpus].evals:
            by_method = places.setdefault((cell.corpus, name, cell.samples), {})
            by_method.setdefault(cell.method, {})[cell.seed] = _run(outcome, name)
    document = {
        "grid": as_document(grid),
        "places": [
            {
                "corpus": corpus,
                "eval": name,
                "samples": samples,
                "runs": {method: [_numbers(run) for run in runs.values()] for method, runs in found.items()},
                "contrasts": [
                    {"method": method, "to": other, **_contrast(found[method], found[other])}
                    for method, other in _pairs(list(found))
                ],
            }
            for (corpus, name, samples), found in places.items()
        ],
    }
    publish.write_atomic(target, canonical.dumps(document) + b"\n")


def _finished(grid: Grid, out: Path) -> Iterator[Outcome]:
    for cell in grid.cells():
        folder = out / cell.folder
        if (folder / RESULT).is_file():
            yield Outcome(cell=cell, folder=folder, result=KeptResult.read(folder / RESULT).result)


def _with_temperature_of_today(outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
    """Yield each outcome, and after one with held out texts the same with the temperature that amix fits to them now.

    The runs are older than the blurred targets of `fit_temperature`.
    """
    for outcome in outcomes:
        yield outcome
        held_out = load_dev_predictions(outcome.folder) if outcome.cell.method == HELD_OUT else None
        if held_out is not None:
            cell = replace(outcome.cell, method=f"{HELD_OUT}, blurred")
            yield replace(
                outcome, cell=cell, result=replace(outcome.result, temperature=held_out.temperature())
            )


def _pairs(methods: list[str]) -> Iterator[tuple[str, str]]:
    """Yield a method and what it is compared with, the protocol's primary contrast first."""
    for other in (HELD_OUT, PLAIN, CROSS, CONTROL):
        if other in methods:
            for method in sorted(methods, key=lambda each: each != MIX):
                is_other_baseline = other in (CROSS, CONTROL) and method not in (MIX, f"{MIX} cv")
                if method != other and not is_other_baseline:
                    yield method, other
    if f"{PLAIN} student" in methods and f"{MIX} student" in methods:
        yield f"{MIX} student", f"{PLAIN} student"
    for method in methods:
        if method != PLAIN and f"{method} grouped" in methods:
            yield f"{method} grouped", method
        # Where nothing is held out, the ways of mixing are compared with each other.
        if MIX in methods and HELD_OUT not in methods and method not in (MIX, PLAIN, CONTROL):
            yield method, MIX


def _run(outcome: Outcome, name: str) -> Run:
    found = outcome.predictions(name)
    logits_NC = np.asarray(found.logits_NC, np.float64) / (outcome.result.temperature or 1.0)
    metrics = weighted_metrics(logits_NC, found.truth, multi_label=found.multi_label)
    return Run(cell=outcome.cell, result=outcome.result, metrics=metrics, texts=len(logits_NC))


def _numbers(run: Run) -> dict[str, float | int | None]:
    ones = np.ones((1, run.texts))
    values = {name: round(float(metric(ones)[0]), 5) for name, metric in run.metrics.items()}
    spent = {"steps": run.result.steps, "tokens": run.result.tokens, "seconds": round(run.result.seconds, 1)}
    return {"seed": run.cell.seed, **values, "temperature": run.result.temperature, **spent}


def _contrast(ours: Mapping[int, Run], theirs: Mapping[int, Run]) -> dict[str, object]:
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        return {"seeds": []}
    rng = np.random.default_rng(0)
    runs = [*(ours[seed] for seed in shared), *(theirs[seed] for seed in shared)]
    drawn = resampled_metrics([run.metrics for run in runs], runs[0].texts, _RESAMPLES, rng)
    half = len(shared)
    found: dict[str, object] = {"seeds": shared}
    for metric in runs[0].metrics:
        a, b = [each[metric] for each in drawn[:half]], [each[metric] for each in drawn[half:]]
        each = paired_difference(a, b, np.random.default_rng(1), biased=metric in BIASED)
        found[metric] = _shown(
            each, sign_flip_p(np.array([x[0] - y[0] for x, y in zip(a, b, strict=True)]), rng)
        )
    return found


def _shown(each: Difference, p: float) -> dict[str, float]:
    return {"mean": round(each.mean, 5), "low": round(each.low, 5), "high": round(each.high, 5), "p": p}


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
