"""`amix train`: a classifier from shards."""

import contextlib
import os
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from amix.cli.output import json_line, json_option, notice, table
from amix.cli.shell.help import TRAINING, GroupedCommand
from amix.cli.shell.places import LocalPath, Place, check_places, existing
from amix.cli.shell.progress import tell_epoch
from amix.cli.shell.steps import said_how_to_go_on, step_after
from amix.engine.base.errors import UsageError
from amix.engine.base.stopping import signals_end
from amix.engine.base.words import counted
from amix.train.options.auto import AUTO, note_after, note_before
from amix.train.options.config import TrainConfig, rules
from amix.train.options.dev import parse_dev
from amix.train.options.file import Inputs, read_config, resolve
from amix.train.options.methods import METHOD_OPTIONS, PRESETS
from amix.train.options.rules import Rule
from amix.train.run.files import CONFIG

_PRESET = (
    "Set several options at once; options given with it win. paper: every row is mixed at full strength, as in the "
    "paper on AttentionMix."
)
Command = Callable[..., Any]  # a command's function, whose parameters are its own
_METRICS = ("accuracy", "macro_f1", "nll", "ece")


class _NumberOrWord(click.ParamType):  # type: ignore[type-arg]  # older click's cannot be subscripted
    """A number, or one of a few words."""

    def __init__(self, rule: Rule) -> None:
        self.words = rule.words
        self.number = click.INT if rule.kind is int else click.FLOAT
        self.name = self.number.name

    def convert(
        self,
        value: Any,  # noqa: ANN401  as click declares it
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str | float:
        """Return the word, or the number."""
        if value in self.words:
            return str(value)
        number: float = self.number.convert(value, param, ctx)
        return number


def config_options(
    *left_out: str,
    hidden: bool = False,
    shown: Collection[str] = (),
    changed: Mapping[str, object] | None = None,
) -> Callable[[Command], Command]:
    """Add one option per field of TrainConfig, and `--preset`, for `given_options`.

    They have no defaults: what is not given comes from the file.
    hidden: leave them out of the help, which then refers to that of `amix train`.  shown: all but these.
    changed: defaults that the command has instead, for the help.
    """

    def add(command: Command) -> Command:
        defaults = {**TrainConfig().as_dict(), **(changed or {})}
        for name, rule in reversed(rules().items()):
            if name in left_out:
                continue
            default = defaults[name]
            default_shown = "" if default is None else f"  [default: {default}]"
            # Any: what click takes for a type.
            kind: Any = click.Choice(rule.choices) if rule.choices else rule.kind
            if rule.words:
                kind = _NumberOrWord(rule)
            flag = f"--{name.replace('_', '-')}"
            if rule.kind is bool:
                flag = f"{flag}/--no-{flag[2:]}"
            text = f"{rule.text}{default_shown}"
            is_hidden = hidden and name not in shown
            command = click.option(flag, name, type=kind, default=None, help=text, hidden=is_hidden)(command)
        preset = click.Choice(tuple(PRESETS))
        return click.option("--preset", type=preset, help=_PRESET, hidden=hidden)(command)

    return add


def note_unused(flags: Mapping[str, object], config: TrainConfig) -> None:
    """Say which of the options that were given have no effect."""
    for name in METHOD_OPTIONS - config.uses:
        if flags.get(name) is not None:
            notice(
                f"Note: --{name.replace('_', '-')} is not used by --method {config.method}; it is ignored."
            )


def jobs_option(text: str) -> Callable[[Command], Command]:
    """Add `--jobs`, whose help begins with `text`; None is for `run_grid` to decide."""
    default = "[default: as many as cores and memory allow, one thread each; one on a GPU]"
    return click.option("--jobs", type=click.IntRange(min=1), help=f"{text}.  {default}")


@click.command(name="train", cls=GroupedCommand, groups=TRAINING)
@click.argument("shards")
@click.argument("out", type=LocalPath())
@click.option("--model", help="Hub id or folder of the encoder to fine-tune.")
@click.option(
    "--dev",
    metavar="SHARDS|SHARE|cv:K",
    help="Select the best epoch on these shards, or on a share of the training texts (0.2) that is held out of "
    "training, the same share of each class. cv:5: train on all texts and keep the last epoch; models of five folds "
    "give the confidence gap for --p auto, and the temperature. Without --dev the last epoch is kept.",
)
@click.option(
    "--eval",
    "evals",
    multiple=True,
    metavar="[NAME=]SHARDS",
    help="Shards to report results on. May be repeated.",
)
@config_options()
@click.option("--resume", is_flag=True, help="Continue from the newest checkpoint in OUT.")
@click.option(
    "--config",
    "config_file",
    type=LocalPath(),
    help="YAML file of options; the command line wins.",
)
@json_option
def command(
    shards: str,
    out: Path,
    model: str | None,
    dev: str | None,
    evals: tuple[str, ...],
    resume: bool,
    config_file: Path | None,
    as_json: bool,
    **flags: Any,  # noqa: ANN401  each of its option's type
) -> None:
    """Fine-tune a classifier on SHARDS, mixed as --method says, and write model, metrics and options to OUT.

    Every option can be set in a YAML file (--config), with _ in place of -. The config.yaml of a run is such a file.
    """
    options, inputs = ({}, Inputs()) if config_file is None else read_config(config_file)
    config = resolve(options, flags)
    model = model or inputs.model
    if model is None:
        raise UsageError(
            "--model is missing. Name a Hub id or a folder, usually the encoder that was exported."
        )
    note_unused(flags, config)
    named = parse_evals(evals) or list(inputs.evals.items())
    dev = dev or inputs.dev
    judge = parse_dev(dev)
    check_places(
        Place("SHARDS", shards, ["cache"]),
        Place("OUT", out, ["run"], is_output=True),
        Place("--model", model, ["model"]),
        *([Place("--dev", existing(dev), ["cache"])] if isinstance(judge, str) else []),
        *(Place("--eval", folder, ["cache"]) for _, folder in named),
    )
    from amix.study.shards import have_class_weights

    is_first = not int(os.environ.get("RANK", "0"))  # of several processes only the first one speaks
    if is_first:
        p = config.settled(has_dev=judge is not None).p
        before = note_before(p, config.epochs, class_weights=have_class_weights(shards))
        if before is not None:
            notice(before)

    from amix.train.run.accelerator import ended_group
    from amix.train.run.train import train

    with contextlib.ExitStack() as ending:
        if is_first:
            ending.enter_context(signals_end(partial(run_goes_on, out)))
            ending.enter_context(said_how_to_go_on(partial(run_goes_on, out)))
        ending.enter_context(ended_group())
        result = train(shards, out, model, config, dev=dev, evals=named, resume=resume, on_epoch=tell_epoch)
    if not is_first:
        return

    if (after := note_after(config.p, result.largest_p)) is not None:
        notice(after)
    if result.changed_labels is not None:
        notice(
            f"Note: {result.changed_labels} of the training labels were wrong on purpose (--label-noise "
            f"{config.label_noise:g}, {config.noise_kind}). Use this model for nothing but an experiment."
        )
    if as_json:
        json_line(result.as_dict())
        return
    places = {"dev": dev, **dict(named)}
    rows = {} if result.dev is None else {"dev": result.dev}
    rows |= result.eval
    shown = {_set_shown(name, places[name]): metrics for name, metrics in rows.items()}
    if result.ensemble is not None:
        together = f"ensemble of {result.ensemble.models}"
        shown |= {f"{name}, {together}": metrics for name, metrics in result.ensemble.eval.items()}
    if shown:
        table(
            ["set", *_METRICS], [[name, *(found[each] for each in _METRICS)] for name, found in shown.items()]
        )
    head = f"head {result.head}, " if config.head == AUTO and result.head else ""
    steps = counted(result.steps, "step")
    how = f"{head}epoch {result.epoch} of {config.epochs}, {steps}, {result.seconds:.1f} s"
    click.echo(f"{result.model}: {how}")
    step_after("run", out)


def run_goes_on(out: Path, name: str) -> str:
    """Return the message about a run in `out` that a signal of this name ended."""
    steps = [path.name.removeprefix("checkpoint-") for path in out.glob("checkpoint-*[0-9]")]
    if steps:
        step = int(max(steps))  # the names are of equal length
        return f"{out}: ended by {name}. The same command with --resume goes on after step {step}."
    if (out / CONFIG).is_file():
        return (
            f"{out}: ended by {name} before a checkpoint was written, so the same command with --resume begins anew. "
            "--checkpoint-steps N has one written every N steps."
        )
    return f"{out}: ended by {name} before anything was written. The same command begins anew."


def _set_shown(name: str, place: str | None) -> str:
    """Return how a table calls a set: a name that nobody gave says nothing, its folder does."""
    from amix.loaders.stores import shown

    return f"{name} ({shown(place)})" if place is not None and name in ("dev", "eval") else name


def parse_evals(values: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return (name, shards) of each `[NAME=]SHARDS`; the name is `eval` where none is given.

    Raises UsageError for a name that is given twice.
    """
    pairs: list[tuple[str, str]] = []
    for value in values:
        name, equals, folder = value.partition("=")
        # A folder may have an equals sign in its own name; a name has no slash.
        is_named = bool(equals) and "/" not in name and not Path(value).exists()
        pair = (name, folder) if is_named else ("eval", value)
        if not all(pair):
            raise UsageError(f"--eval {value}: write --eval SHARDS or --eval NAME=SHARDS.")
        if pair[0] in dict(pairs):
            raise UsageError(
                f"--eval {value}: the name '{pair[0]}' is given twice. "
                "Give each set its own name: --eval NAME=SHARDS."
            )
        pairs.append(pair)
    return pairs
