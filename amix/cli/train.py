"""`amix train`: a classifier from shards."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from amix.cli.output import json_line, json_option, notice, table
from amix.engine.base.errors import UsageError
from amix.train.options.auto import AUTO, note_after, note_before
from amix.train.options.config import METHOD_OPTIONS, PRESETS, TrainConfig, rules
from amix.train.options.dev import parse_dev
from amix.train.options.file import Inputs, read_config, resolve
from amix.train.options.rules import Rule

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


def config_options(*left_out: str) -> Callable[[Command], Command]:
    """Add one option per field of TrainConfig, and `--preset`, for `given_options`.

    They have no defaults: what is not given comes from the file.
    """

    def add(command: Command) -> Command:
        defaults = TrainConfig().as_dict()
        for name, rule in reversed(rules().items()):
            if name in left_out:
                continue
            default = defaults[name]
            shown = "" if default is None else f"  [default: {default}]"
            # Any: what click takes for a type.
            kind: Any = click.Choice(rule.choices) if rule.choices else rule.kind
            if rule.words:
                kind = _NumberOrWord(rule)
            flag = f"--{name.replace('_', '-')}"
            if rule.kind is bool:
                flag = f"{flag}/--no-{flag[2:]}"
            command = click.option(flag, name, type=kind, default=None, help=f"{rule.text}{shown}")(command)
        return click.option("--preset", type=click.Choice(tuple(PRESETS)), help=_PRESET)(command)

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


@click.command(name="train")
@click.argument("shards")
@click.argument("out", type=click.Path(path_type=Path))
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
    type=click.Path(path_type=Path),
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
    p = config.settled(has_dev=parse_dev(dev) is not None).p
    is_first = not int(os.environ.get("RANK", "0"))  # of several processes only the first one speaks
    if is_first and (before := note_before(p, config.epochs)) is not None:
        notice(before)

    from amix.train.run.accelerator import ended_group
    from amix.train.run.train import train

    with ended_group():
        result = train(shards, out, model, config, dev=dev, evals=named, resume=resume)
    if not is_first:
        return

    if (after := note_after(result.largest_p)) is not None:
        notice(after)
    if result.changed_labels is not None:
        notice(
            f"Note: {result.changed_labels} of the training labels were wrong on purpose (--label-noise "
            f"{config.label_noise:g}, {config.noise_kind}). Use this model for nothing but an experiment."
        )
    rows = [] if result.dev is None else [("dev", result.dev)]
    rows += result.eval.items()
    if result.ensemble is not None:
        together = f"ensemble of {result.ensemble.models}"
        rows += [(f"{name}, {together}", metrics) for name, metrics in result.ensemble.eval.items()]
    if as_json:
        json_line(result.as_dict())
        return
    if rows:
        table(["set", *_METRICS], [[name, *(metrics[each] for each in _METRICS)] for name, metrics in rows])
    head = f"head {result.head}, " if config.head == AUTO and result.head else ""
    how = f"{head}epoch {result.epoch} of {config.epochs}, {result.steps} steps, {result.seconds:.1f} s"
    click.echo(f"{result.model}: {how}")


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
