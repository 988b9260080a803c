"""A run beside one without mixing on the same texts: the metrics of both, and how they differ."""

from collections.abc import Iterator
from html import escape

import numpy as np

from amix.study.compare.summary import BASELINE, differences_of
from amix.study.compare.verdict import verdict_on
from amix.study.report.mixed import judged_on
from amix.study.report.page import Html, paragraph
from amix.study.report.tables import column, table
from amix.study.report.tracks import Found, differences
from amix.study.runs import RunRecord, load_dev_predictions, load_predictions, predicted_sets
from amix.study.terms import TERMS
from amix.train.score.evaluate import Predictions

_METRICS = ("accuracy", "macro_f1", "nll", "ece")
_COMPARED = ("accuracy", "nll", "ece")
_ONE_SEED = (
    "Both were trained once, from the same seed, on the same texts in the same order. The intervals say how far chance "
    "in the choice of the texts measured on explains a difference. Chance in training comes on top: amix compare "
    "trains with several seeds."
)


def beside(run: RunRecord, baseline: RunRecord) -> str:
    """Return both runs side by side on each set that both predicted; the development set where there is no other."""
    parts = []
    for name, ours, theirs in _shared(run, baseline):
        of_method = {run.config.method: ours.report(), baseline.config.method: theirs.report()}
        rows = [[method, *(scores[metric] for metric in _METRICS)] for method, scores in of_method.items()]
        parts.append(Html(f"<h3>On {escape(name)}</h3>"))
        parts.append(table(["method", *map(column, _METRICS)], rows, f"Both on {name}"))
        found = differences_of([ours], [theirs])
        for metric in _COMPARED:
            shown = Found(run.config.method, found[metric], None, verdict_on(found[metric], metric))
            parts.append(differences([shown], TERMS[metric], BASELINE))
    return "".join([*parts, paragraph(_ONE_SEED, "soft")]) if parts else ""


def _shared(run: RunRecord, baseline: RunRecord) -> Iterator[tuple[str, Predictions, Predictions]]:
    """Yield the sets with the predictions of both, where these are of the same texts."""
    found = [
        (name, load_predictions(run.folder, name), load_predictions(baseline.folder, name))
        for name in predicted_sets(run.folder)
        if name in predicted_sets(baseline.folder)
    ]
    on_dev = [load_dev_predictions(each.folder) for each in (run, baseline)]
    if not found and on_dev[0] is not None and on_dev[1] is not None:
        found = [(f"the {judged_on(run)}", on_dev[0], on_dev[1])]
    yield from (each for each in found if np.array_equal(each[1].rows, each[2].rows))
