"""`amix compare`: methods side by side, over seeds and training sizes, with intervals."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from amix.cli.output import json_line, json_option, notice
from amix.cli.train import config_options, parse_evals
from amix.engine.base.errors import UsageError

if TYPE_CHECKING:
    from amix.study.compare.grid import Grid
    from amix.study.compare.outcome import Outcome


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="CONFIG|SHARDS...")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--model", help="Hub id or folder of the encoder to fine-tune.")
@click.option(
    "--methods", default="none,wordmixup,attentionmix", show_default=True, help="Methods, with commas."
)
@click.option("--heads", help="Head specs with commas: attentionmix once with each.  [default: 0.mean]")
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="Seeds 0, 1, ...")
@click.option("--sizes", default="all", show_default=True, help="Training texts, with commas: 100,500,all.")
@click.option("--dev", help="Shards that select the epoch, where SHARDS is one cache.")
@click.option(
    "--eval", "evals", multiple=True, metavar="[NAME=]SHARDS", help="Shards to report on. Repeatable."
)
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Runs at a time.")
@click.option("--keep-models", is_flag=True, help="Keep the model of every run.")
@config_options("method", "head", "seed", "subset_seed", "samples")
@json_option
def command(
    sources: tuple[str, ...],
    out: Path,
    model: str | None,
    methods: str,
    heads: str | None,
    seeds: int,
    sizes: str,
    dev: str | None,
    evals: tuple[str, ...],
    jobs: int,
    keep_models: bool,
    as_json: bool,
    **flags: Any,  # noqa: ANN401
) -> None:
    """Train every method on the same texts in the same order, and say how they differ and how sure that is.

    CONFIG is a YAML file (docs/comparing.md). SHARDS is a folder with the shards of `train`, `validation` and `test`,
    or one cache with --dev and --eval. What is finished in OUT is not run again. OUT gets report.html, grid.yaml,
    runs.csv, comparison.json and table.md.
    """
    from amix.study.compare.grid import Grid, cache_of, checked, parse_size, read_grid, slug
    from amix.train.options.file import given_options

    if len(sources) == 1 and sources[0].endswith((".yaml", ".yml")):
        given = click.get_current_context()
        for name in ("model", "methods", "heads", "seeds", "sizes", "dev", "evals", *flags):
            if given.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
                shown = "eval" if name == "evals" else name.replace("_", "-")
                raise UsageError(f"--{shown} cannot stand beside {sources[0]}; write it there.")
        grid = read_grid(Path(sources[0]))
    else:
        if model is None:
            raise UsageError(
                "--model is missing. Name a Hub id or a folder, usually the encoder that was exported."
            )
        if len(sources) > 1 and (dev or evals):
            raise UsageError("--dev and --eval belong to one cache; write several down in a YAML file.")
        caches = {
            slug(Path(source).name): cache_of(source, dev, dict(parse_evals(evals))) for source in sources
        }
        if len(caches) < len(sources):
            raise UsageError("two of SHARDS have the same name; write them down in a YAML file.")
        named = [each.strip() for each in methods.split(",") if each.strip()]
        if heads and "attentionmix" not in named:
            raise UsageError(
                f"--heads {heads}: no method of --methods {methods} has heads. Add attentionmix."
            )
        labels: dict[str, dict[str, Any]] = {}
        for method in named:
            specs = [spec.strip() for spec in heads.split(",")] if heads and method == "attentionmix" else []
            labels |= {f"{method} {spec}": {"head": spec} for spec in specs} or {method: {}}
        grid = checked(
            Grid(
                model=model,
                caches=caches,
                methods=labels,
                seeds=range(seeds),
                sizes={parse_size(each.strip(), "--sizes"): {} for each in sizes.split(",")},
                options=given_options(flags),
            ),
            "--methods, --heads, --sizes, --eval",
        )
    _compare(grid, out, jobs, keep_models, as_json)


def _compare(grid: "Grid", out: Path, jobs: int, keep_models: bool, as_json: bool) -> None:
    from tqdm import tqdm

    from amix.engine.base.publish import write_atomic
    from amix.study.compare.runner import run_grid, runs_are_kept
    from amix.study.compare.summary import markdown, summarise, write_summary
    from amix.study.report.reports import report

    total = sum(1 for _ in grid.cells())
    with tqdm(total=total, unit=" runs", desc="compare", disable=None) as bar:

        def advance(outcome: "Outcome") -> None:
            bar.set_postfix_str(str(outcome.cell.folder.relative_to("runs")), refresh=False)
            bar.update()

        try:
            outcomes = run_grid(grid, out, jobs=jobs, keep_models=keep_models, on_outcome=advance)
        except KeyboardInterrupt:
            notice(runs_are_kept(out, "Ctrl-C"))
            raise
    rows = summarise(grid, outcomes)
    write_summary(out, grid, outcomes, rows)
    write_atomic(out / "report.html", report(out).encode())
    if as_json:
        json_line({"out": str(out), "runs": total, "table": str(out / "table.md")})
        return
    click.echo("\n".join(markdown(rows)))
    notice(f"{out}: report.html shows it; runs.csv, comparison.json and table.md hold all of it.")
