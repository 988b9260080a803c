"""A run beside plain training on the same texts, with what chance alone does to their difference."""

import numpy as np

from amix.study.compare.statistics import paired_difference, resampled_metrics, weighted_metrics
from amix.study.report.page import Html, paragraph
from amix.study.report.tables import column, table
from amix.study.runs import RunRecord, load_dev_predictions, load_predictions, predicted_sets
from amix.train.score.evaluate import Predictions

_METRICS = ("accuracy", "nll", "brier", "ece")
_BIASED = ("ece",)  # as in `amix compare`
_RESAMPLES = 2_000


def beside(run: RunRecord, baseline: RunRecord, judged: str) -> Html:
    """Return a table for each set that both were measured on. judged: what the development set is called."""
    parts = []
    for name, found, plain in _shared(run, baseline, judged):
        ours, theirs, shown = _compared(found, plain)
        rows: list[list[object]] = [
            [run.config.method, *ours],
            [baseline.config.method, *theirs],
            ["difference", *shown],
        ]
        columns = [name, *map(column, _METRICS)]
        parts.append(table(columns, rows, f"{run.config.method} and {baseline.config.method} on {name}"))
    if not parts:
        return Html()
    note = (
        "In brackets: where the difference lies for 95 % of test sets of this size. One training each says nothing of "
        "the chance of training, which may be larger: amix compare trains with several seeds."
    )
    return Html("".join(parts) + paragraph(note))


def _shared(run: RunRecord, baseline: RunRecord, judged: str) -> list[tuple[str, Predictions, Predictions]]:
    """Return the sets that both were measured on, with the predictions of both for the same texts."""
    shared = [
        (name, load_predictions(run.folder, name), load_predictions(baseline.folder, name))
        for name in predicted_sets(run.folder)
        if name in predicted_sets(baseline.folder)
    ]
    found, plain = load_dev_predictions(run.folder), load_dev_predictions(baseline.folder)
    if not shared and found is not None and plain is not None:
        shared = [(judged, found, plain)]
    return [each for each in shared if np.array_equal(each[1].rows, each[2].rows)]


def _compared(found: Predictions, plain: Predictions) -> tuple[list[float], list[float], list[str]]:
    metrics = [
        weighted_metrics(np.asarray(each.logits_NC, np.float64), each.truth, multi_label=each.multi_label)
        for each in (found, plain)
    ]
    rng = np.random.default_rng(0)
    ours, theirs = resampled_metrics(metrics, len(found.rows), _RESAMPLES, rng)
    shown = []
    for metric in _METRICS:
        each = paired_difference([ours[metric]], [theirs[metric]], rng, biased=metric in _BIASED)
        shown.append(f"{each.mean:+.3f} [{each.low:+.3f}, {each.high:+.3f}]")
    return [float(ours[each][0]) for each in _METRICS], [float(theirs[each][0]) for each in _METRICS], shown
