"""The page about one run."""

from html import escape
from typing import get_args

from amix.engine.base.errors import AmixError, HeadError
from amix.engine.base.heads import HeadSpec
from amix.engine.base.words import counted
from amix.study.attention.inspection import Inspector
from amix.study.report.beside import beside
from amix.study.report.curves import curve
from amix.study.report.mixed import judged_on, mixing_of
from amix.study.report.page import Html, explanations, page, paragraph, percent
from amix.study.report.places import again, place_name
from amix.study.report.tables import column, table
from amix.study.report.texts import legend, shaded
from amix.study.report.tracks import reliability
from amix.study.runs import Predictor, RunRecord, load_dev_predictions, load_predictions, predicted_sets
from amix.study.terms import TERMS, explained
from amix.train.options.dev import Folds, parse_dev
from amix.train.run.files import CONFIG
from amix.train.run.log import HeadLine, LossLine, ScoreLine
from amix.train.score.evaluate import Predictions

_TEXTS = 3
_METRICS = ("accuracy", "macro_f1", "nll", "ece")
_CALIBRATION = ("nll", "brier", "ece", "ece_equal_mass", "aurc")
_RELIABILITY = (
    "Reliability compares how sure the model was (the line) with how often it was right (the dot), for texts of "
    "similar confidence. A well-calibrated model is right as often as it is sure: dot and line meet. Orange: surer "
    "than right. Blue: more often right than sure. Paler: fewer texts, so more of it is chance."
)


def run_page(run: RunRecord, baseline: RunRecord | None = None) -> str:
    """Return the page: what was mixed, metrics, reliability, curves, a few texts shaded, and how to run it again.

    baseline: a run without mixing on the same texts, which the metrics are set beside.
    """
    sections = [
        ("Result", _result(run)),
        ("Beside plain fine-tuning", "" if baseline is None else beside(run, baseline)),
        ("Calibration: is it as sure as it is right?", _calibration(run)),
        ("Training", _curves(run)),
        ("Texts, shaded by relevance", _texts(run)),
        ("Run it again", _again(run)),
    ]
    mixing = mixing_of(run)
    title = f"{run.config.method} on {place_name(run.shards)}"
    title += ": nothing was mixed" if mixing.is_missing else ""
    about = f"Run {run.folder.resolve().name}, seed {run.config.seed}."
    lead = paragraph(mixing.sentence, "note" if mixing.is_missing else "")
    if noise := run.config.label_noise:
        said = f"An experiment: {percent(noise)} of its training labels were wrong on purpose."
        lead = Html(lead + paragraph(said, "note"))
    return page(title, about, sections, lead)


def _result(run: RunRecord) -> str:
    scores = [line for line in run.log if isinstance(line, ScoreLine) and line.kind != "dev"]
    if not scores:
        return ""
    rows = [[_named(line.name, line.kind), *(line.metrics[metric] for metric in _METRICS)] for line in scores]
    said = "".join(paragraph(_in_words(name, found), "lead") for name, found in _predicted(run).items())
    columns = ["set", *map(column, _METRICS)]
    return said + table(columns, rows, "Metrics of each set") + explanations(explained(_METRICS))


def _predicted(run: RunRecord) -> dict[str, Predictions]:
    """Return the predictions for each set, those of the model before those of an ensemble around it."""
    return {
        _named(name, kind): load_predictions(run.folder, name, kind)
        for kind in get_args(Predictor)
        for name in predicted_sets(run.folder, kind)
    }


def _named(name: str, kind: str) -> str:
    return f"{name}, ensemble" if kind == "ensemble" else name


def _in_words(name: str, found: Predictions) -> str:
    """Return a result as a sentence for readers who know none of the metrics."""
    gap = found.confidence_gap()
    accuracy = found.report()["accuracy"]
    if found.multi_label:
        return f"On {name}, {counted(len(found.rows), 'text')}, every label was right for {percent(accuracy, 1)}."
    how = "about as sure as it is right"
    if abs(gap) >= 0.02:
        how = "surer than it is right" if gap > 0 else "more often right than it is sure"
    return (
        f"On {name}, {counted(len(found.rows), 'text')}, the model was right on {percent(accuracy, 1)} and "
        f"{percent(accuracy + gap, 1)} sure on average: it is {how}."
    )


def _calibration(run: RunRecord) -> str:
    on_dev = load_dev_predictions(run.folder)
    temperature = None if on_dev is None else on_dev.temperature()
    shown = []  # title, predictions, what their logits are divided by
    for name, found in _predicted(run).items():
        shown.append((name, found, 1.0))
        # Of the model alone: an ensemble has another temperature.
        if temperature is not None and name in predicted_sets(run.folder):
            shown.append((f"{name}, logits / {temperature:.2f}", found, temperature))
    if on_dev is not None:
        shown.append((judged_on(run), on_dev, 1.0))
    if not shown:
        return ""
    rows = [[title, *found.calibration(divisor).values()] for title, found, divisor in shown]
    diagrams = "".join(
        f"<div><h3>{escape(title)}</h3>{reliability(**found.reliability(divisor), name=title)}</div>"
        for title, found, divisor in shown
    )
    sentences = explained(metric for metric in _CALIBRATION if metric not in _METRICS)
    if temperature is not None:
        sentences.append(
            f"Logits / {temperature:.2f}: after temperature scaling. That one number was fitted on the "
            f"{judged_on(run)}; it changes how sure the model is, not what it answers."
        )
    columns = ["set", *map(column, _CALIBRATION)]
    return (
        table(columns, rows, "Calibration of each set")
        + explanations(sentences)
        + paragraph(_RELIABILITY)
        + f'<div class="plots">{diagrams}</div>'
    )


def _curves(run: RunRecord) -> str:
    """Return the loss by step; by epoch the metrics of the development set, and the share of rows to be mixed."""
    losses = [(float(line.step), line.loss) for line in run.log if isinstance(line, LossLine)]
    loss = curve(losses, "loss", "on the training texts", "step")
    lines = [line for line in run.log if isinstance(line, ScoreLine) and line.kind == "dev"]
    if not lines:
        return loss
    mixing = mixing_of(run)
    # With folds, the curves are those of other models than the one that was kept.
    kept = None if isinstance(parse_dev(run.inputs.dev), Folds) else mixing.kept
    plots = []
    for metric, high in (("accuracy", 1.0), ("nll", None), ("ece", None)):
        term = TERMS[metric]
        points = [(float(line.epoch), line.metrics[metric]) for line in lines]
        plots.append(curve(points, term.name, term.direction, "epoch", high=high, kept=kept))
    if mixing.by_epoch:
        points = [(float(number), share) for number, share in enumerate(mixing.by_epoch, 1)]
        plots.append(curve(points, "p", "share of rows to be mixed", "epoch", high=1.0, kept=kept))
    columns = ["epoch", *map(column, _METRICS)]
    rows = [[line.epoch, *(line.metrics[metric] for metric in _METRICS)] for line in lines]
    numbers = table(columns, rows, "Metrics by epoch")
    marked = "" if kept is None else f" The dashed line marks epoch {kept}, whose model was kept."
    return (
        paragraph(f"Metrics are those of the {judged_on(run)}, after each epoch.{marked}")
        + f'<div class="plots">{"".join(plots)}{loss}</div>'
        + f"<details><summary>The metrics in numbers</summary>{numbers}</details>"
    )


def _texts(run: RunRecord) -> str:
    """Return a few training texts with their words shaded by the run's head.

    Nothing where the shards are no longer there, or where it was not by this relevance that the run mixed: with one of
    several heads drawn for each batch, or another source than the cache.
    """
    chosen = next((line.head for line in run.log if isinstance(line, HeadLine)), None)
    head = chosen or run.config.head
    is_mixed_by = "head" in run.config.uses and run.config.relevance_source == "cache"
    if not is_mixed_by or parsed_head(head) is None:
        return ""
    try:
        inspector = Inspector(run.shards)
        texts = [inspector.text(int(row)) for row in inspector.dataset.rows()[:_TEXTS]]
        words = [shaded(text, inspector.relevance(text, head)) for text in texts]
    except (AmixError, OSError):
        return ""
    note = f"How much attention each word receives from head {head}; the first texts of {place_name(run.shards)}."
    return paragraph(note) + legend() + "".join(words)


def parsed_head(text: str) -> HeadSpec | None:
    """Return the head spec written in `text`, None where it is not a single one."""
    try:
        return HeadSpec.parse(text)
    except HeadError:
        return None


def _again(run: RunRecord) -> Html:
    command = ["amix", "train", place_name(run.shards), "OUT", "--config", CONFIG]
    return again(command, CONFIG, run.written, run.as_dict())
