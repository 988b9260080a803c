"""`amix compare`: methods side by side, over seeds and numbers of training texts, with intervals."""

import difflib
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from amix.cli.output import json_line, json_option, notice
from amix.cli.shell.help import GroupedCommand
from amix.cli.shell.places import LocalPath, Place, check_places, existing
from amix.cli.shell.progress import Progress
from amix.cli.shell.steps import open_page, said_how_to_go_on
from amix.cli.train import config_options, jobs_option, parse_evals
from amix.engine.base.errors import UsageError
from amix.study.compare.grid import OWN
from amix.train.options.auto import note_before
from amix.train.options.methods import USES

if TYPE_CHECKING:
    from amix.study.compare.grid import Corpus, Grid, Method
    from amix.study.compare.outcome import Outcome


@click.command(
    cls=GroupedCommand,
    groups={
        "Comparison": ("model", "methods", "heads", "seeds", "samples", "dev", "evals"),
        "Running": ("jobs", "keep_models", "as_json", "debug", "help"),
    },
    note="Options of training hold for every run: --epochs, --lr, --p and so on, as 'amix train --help' lists them. "
    "Methods, heads, seeds and numbers of texts are what is compared.",
)
@click.argument("sources", nargs=-1, required=True, metavar="CONFIG|SHARDS...")
@click.argument("out", type=LocalPath())
@click.option("--model", help="Hub id or folder of the encoder to fine-tune.")
@click.option(
    "--methods", default="none,wordmixup,attentionmix", show_default=True, help="Methods, with commas."
)
@click.option(
    "--heads",
    help="Heads or means, with commas: what mixes by relevance is run once with each. A layer (0) or all stands "
    "for each of its heads.  [default: 0.mean]",
)
@click.option(
    "--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="How many seeds: 0, 1, ..."
)
@click.option(
    "--samples",
    default="all",
    show_default=True,
    help="Numbers of training texts, drawn at random, with commas: 100,500,all.",
)
@click.option(
    "--dev",
    metavar="SHARDS|SHARE|cv:K",
    help="Shards that select the best epoch, where SHARDS is one cache; or, as for 'amix train', a share of the "
    "training texts (0.2) or a number of folds of them (cv:5), --samples included.",
)
@click.option(
    "--eval", "evals", multiple=True, metavar="[NAME=]SHARDS", help="Shards to report on. Repeatable."
)
@jobs_option("How many runs to train at once")
@click.option("--keep-models", is_flag=True, help="Keep the model of every run.")
@config_options("method", "head", *OWN, hidden=True)
@json_option
def command(
    sources: tuple[str, ...],
    out: Path,
    model: str | None,
    methods: str,
    heads: str | None,
    seeds: int,
    samples: str,
    dev: str | None,
    evals: tuple[str, ...],
    jobs: int | None,
    keep_models: bool,
    as_json: bool,
    **flags: Any,  # noqa: ANN401  options of training, each of its own type
) -> None:
    """Train every method on the same texts in the same order, and show how they differ, with intervals.

    CONFIG is a YAML file (docs/comparing.md). SHARDS is a folder with the shards of `train`, `validation` and `test`,
    or one cache with --dev and --eval. Runs that are finished in OUT are not run again. OUT gets report.html,
    grid.yaml, runs.csv, comparison.json and table.md.
    """
    from amix.study.compare.grid import DEV, Grid, checked, slug
    from amix.study.compare.gridfile import corpus_of, parse_samples, read_grid
    from amix.train.options.dev import parse_dev
    from amix.train.options.file import given_options

    if len(sources) == 1 and sources[0].endswith((".yaml", ".yml")):
        _require_no_flags(sources[0], flags)
        grid = read_grid(Path(sources[0]))
    else:
        check_places(
            *(Place("SHARDS", source, ["cache", "folder of caches"]) for source in sources),
            Place("OUT", out, ["comparison"], is_output=True),
            Place("--model", model, ["model"]),
            Place("--dev", existing(dev), ["cache"]),
            *(Place("--eval", folder, ["cache"]) for _, folder in parse_evals(evals)),
        )
        if model is None:
            raise UsageError(
                "--model is missing. Name a Hub id or a folder, usually the encoder that was exported."
            )
        names_shards = isinstance(parse_dev(dev), str)
        if len(sources) > 1 and (names_shards or evals):
            raise UsageError(
                "--dev and --eval belong to one cache. To compare on several, describe them in a YAML file."
            )
        corpora = {
            slug(Path(source).name): corpus_of(
                source, dev if names_shards else None, dict(parse_evals(evals))
            )
            for source in sources
        }
        if len(corpora) < len(sources):
            raise UsageError(
                "Two of SHARDS have the same name. Describe them in a YAML file, under names of their own."
            )
        options = given_options(flags)
        if dev is not None and not names_shards:
            options[DEV] = dev
        numbers = [parse_samples(each.strip(), "--samples") for each in samples.split(",")]
        grid = checked(
            Grid(
                model=model,
                corpora=corpora,
                methods=_methods(methods, heads, corpora.values(), model, options),
                seeds=range(seeds),
                samples={number: {} for number in numbers},
                options=options,
            ),
            "--methods, --heads, --samples, --eval",
        )
    _compare(grid, out, jobs, keep_models, as_json)


def _require_no_flags(config: str, flags: Mapping[str, object]) -> None:
    context = click.get_current_context()
    for name in ("model", "methods", "heads", "seeds", "samples", "dev", "evals", *flags):
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            shown = "eval" if name == "evals" else name.replace("_", "-")
            raise UsageError(f"--{shown} cannot be used with {config}. Write it into the file.")


def _methods(
    methods: str,
    heads: str | None,
    corpora: Iterable["Corpus"],
    model: str,
    options: Mapping[str, Any],  # Any: each of its option's type
) -> dict[str, "Method"]:
    """Return the methods by label: those that mix by relevance once for each of `heads`.

    options: of training.  Raises UsageError for a method that there is not.
    """
    from amix.study.compare.candidates import compared_specs
    from amix.study.compare.grid import Method

    named = [each.strip() for each in methods.split(",") if each.strip()]
    for method in named:
        if method not in USES:
            near = difflib.get_close_matches(method, USES, n=1)
            hint = f"Did you mean '{near[0]}'? " if near else ""
            raise UsageError(
                f"--methods: there is no method '{method}'. {hint}The methods are: {', '.join(USES)}."
            )
    if heads is None:
        return {method: Method() for method in named}
    guided = [name for name in named if "head" in USES[name]]
    if not guided:
        raise UsageError(f"--heads {heads}: none of --methods {methods} uses heads. Add attentionmix.")
    # With relevance_source online, heads are those of the model, whatever the caches hold.
    online = model if options.get("relevance_source") == "online" else None
    specs = compared_specs(heads, [corpus.train for corpus in corpora], online)
    found: dict[str, Method] = {}
    for method in named:
        if method in guided:
            found |= {f"{method} {spec}": Method(options={"head": str(spec)}) for spec in specs}
        else:
            found[method] = Method()
    return found


def _compare(grid: "Grid", out: Path, jobs: int | None, keep_models: bool, as_json: bool) -> None:
    from amix.engine.base.publish import write_text
    from amix.study.compare.runner import FailedRunsError, run_grid, runs_are_kept
    from amix.study.compare.summary import summarise
    from amix.study.compare.tables import markdown, write_summary
    from amix.study.report.reports import report
    from amix.study.shards import have_class_weights

    failure = None
    cells = list(grid.cells())
    notes: dict[str, dict[str, None]] = {}  # the methods that each is about
    weights = {shards: have_class_weights(shards) for shards in {cell.train for cell in cells}}
    for cell in cells:
        note = note_before(cell.config.p, cell.config.epochs, class_weights=weights[cell.train])
        if note is not None:
            notes.setdefault(note, {})[cell.method] = None
    for note, methods in notes.items():
        notice(f"{', '.join(methods)}: {note}")
    with (
        said_how_to_go_on(partial(runs_are_kept, out)),
        Progress("compare", "runs", len(cells), silence=0) as progress,
    ):

        def advance(outcome: "Outcome") -> None:
            progress.advance(str(outcome.cell.folder.relative_to("runs")))

        try:
            outcomes = run_grid(grid, out, jobs=jobs, keep_models=keep_models, on_outcome=advance)
        except FailedRunsError as problem:
            outcomes, failure = list(problem.finished), problem
    if failure is not None and not outcomes:
        raise failure
    rows = summarise(grid, outcomes)
    write_summary(out, grid, outcomes, rows)
    write_text(out / "report.html", report(out))
    if as_json:
        json_line({"out": str(out), "runs": len(outcomes), "table": str(out / "table.md")})
    else:
        click.echo("\n".join(markdown(rows)))
        notice(f"{out}: report.html has plots; runs.csv, comparison.json and table.md have the numbers.")
    if failure is not None:
        raise failure
    if not as_json:
        open_page(out / "report.html")
