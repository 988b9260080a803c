"""The summary of a comparison: a row for each corpus, set, number of training texts and method."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from amix.study.compare.comparison import Row
from amix.study.compare.grid import Grid
from amix.study.compare.outcome import Outcome, with_ensembles
from amix.study.compare.statistics import (
    Difference,
    holm,
    paired_difference,
    resampled_metrics,
    weighted_metrics,
)
from amix.train.score.evaluate import Predictions

BASELINE = "none"
METRICS = ("accuracy", "macro_f1", "nll", "brier", "ece", "aurc")
SCALED = ("nll", "ece")  # shown after temperature scaling, too
COMPARED = ("accuracy", "nll", "brier", "ece", "aurc")
BIASED = ("ece",)  # absolute values of binned means: noise adds to them
_RESAMPLES = 2_000


class _Key(NamedTuple):
    """What a row is of."""

    corpus: str
    evaluated: str
    samples: int | None
    method: str


def summarise(grid: Grid, outcomes: Sequence[Outcome]) -> list[Row]:
    """Return a row for every corpus, set, number of texts and method, in the order of the grid.

    A method with an ensemble has a row for its single models and one for the ensembles.
    p-values are corrected over all rows, for each metric by itself.
    """
    groups: dict[_Key, list[Outcome]] = defaultdict(list)
    for outcome in with_ensembles(outcomes):
        cell = outcome.cell
        for name in grid.corpora[cell.corpus].evals:
            groups[_Key(cell.corpus, name, cell.samples, cell.method)].append(outcome)
    differences = {
        key: _differences(members, groups.get(key._replace(method=BASELINE), []), key.evaluated)
        for key, members in groups.items()
        if key.method != BASELINE
    }
    corrected = {metric: _corrected(differences, metric) for metric in COMPARED}
    return [
        Row(
            corpus=key.corpus,
            evaluated=key.evaluated,
            samples=key.samples,
            method=key.method,
            seeds=tuple(member.cell.seed for member in members),
            values=values_of(members, key.evaluated),
            spent={
                "steps": [float(member.result.steps) for member in members],
                "tokens": [float(member.result.tokens) for member in members],
                "seconds": [member.result.seconds for member in members],
            },
            largest_p=[member.result.largest_p for member in members],
            changed_labels=[member.result.changed_labels for member in members],
            differences=differences.get(key, {}),
            corrected={metric: found[key] for metric, found in corrected.items() if key in found},
        )
        for key, members in groups.items()
    ]


def values_of(outcomes: Sequence[Outcome], name: str) -> dict[str, list[float]]:
    """Return the metrics on a set, a number for each outcome; `scaled nll` is after temperature scaling."""
    values: dict[str, list[float]] = defaultdict(list)
    for outcome in outcomes:
        result = outcome.result
        found = {**result.calibration[name], **result.eval[name]}
        if not found.keys() >= set(METRICS):  # kept before there was one of these
            found = {**outcome.predictions(name).calibration(), **found}
        for metric in METRICS:
            values[metric].append(found[metric])
        if name in result.scaled:
            for metric in SCALED:
                values[f"scaled {metric}"].append(result.scaled[name][metric])
    return dict(values)


def _corrected(differences: Mapping[_Key, Mapping[str, Difference]], metric: str) -> dict[_Key, float]:
    p_values = {key: found[metric].p for key, found in differences.items() if metric in found}
    return holm({key: p for key, p in p_values.items() if p is not None})


def _differences(members: Sequence[Outcome], baseline: Sequence[Outcome], name: str) -> dict[str, Difference]:
    """Return the differences over the seeds that both have; none where they share none."""
    ours = {member.cell.seed: member for member in members}
    theirs = {member.cell.seed: member for member in baseline}
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        return {}
    return differences_of(
        [ours[each].predictions(name) for each in shared],
        [theirs[each].predictions(name) for each in shared],
    )


def differences_of(ours: Sequence[Predictions], theirs: Sequence[Predictions]) -> dict[str, Difference]:
    """Return the differences of runs to others of the same seeds, by metric.

    ours, theirs: what both predicted for the same texts, a run of each for every seed.
    """
    metrics = [
        weighted_metrics(found.logits_NC, found.truth, multi_label=found.multi_label)
        for found in (*ours, *theirs)
    ]
    drawn = resampled_metrics(metrics, len(ours[0].logits_NC), _RESAMPLES, np.random.default_rng(0))
    return {
        metric: paired_difference(
            [each[metric] for each in drawn[: len(ours)]],
            [each[metric] for each in drawn[len(ours) :]],
            np.random.default_rng(1),
            biased=metric in BIASED,
        )
        for metric in COMPARED
    }
