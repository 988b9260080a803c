"""`amix label`: soft labels for a cache, from the models of one run or of several."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from amix.cli.output import facts, json_line, json_option
from amix.cli.shell.places import LocalPath, Place, check_places, folder_or_url
from amix.cli.shell.progress import Progress
from amix.cli.shell.steps import said_how_to_go_on, step_after
from amix.engine.base.words import counted

if TYPE_CHECKING:
    from amix.loaders.shards.records import ShardRecord


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=LocalPath())
@click.argument("shards", type=LocalPath())
@click.argument("out", callback=folder_or_url)
@click.option(
    "--scaled",
    is_flag=True,
    help="Divide each run's logits by its temperature first, which --dev of its training gave.",
)
@click.option("--device", help="cpu, cuda or cuda:N. Without it: a GPU if there is one.")
@click.option("--restart", is_flag=True, help="Remove what an earlier run wrote to OUT, and start anew.")
@json_option
def command(
    runs: tuple[Path, ...],
    shards: Path,
    out: Path | str,
    scaled: bool,
    device: str | None,
    restart: bool,
    as_json: bool,
) -> None:
    """Write the texts of a cache (SHARDS) to OUT, labelled with what the models of one RUN or of several say of them.

    A label is a probability for each class, the mean over all models: those of an ensemble (--ensemble) and of every
    RUN. 'amix train' trains a student on OUT. SHARDS may have labels or none ('amix precompute --no-labels'). To go on
    with a run that was stopped, give the same command again.
    """
    from amix.loaders.shards.output import destination
    from amix.loaders.shards.rewrite.relabel import relabel
    from amix.loaders.shards.workspace import require_place, shards_are_kept
    from amix.loaders.stores import shown
    from amix.study.teachers import labels_by, teachers_of

    check_places(
        *(Place("RUN", run, ["run"]) for run in runs),
        Place("SHARDS", shards, ["cache"]),
        Place("OUT", out, [], is_output=True),
    )
    require_place(destination(out))
    name = shown(out)
    began = time.perf_counter()
    teachers = [each for run in runs for each in teachers_of(run, scaled=scaled)]
    labels = labels_by(teachers, shards, device)
    with said_how_to_go_on(shards_are_kept(name, restart)), Progress("label", "shards") as progress:

        def advance(record: "ShardRecord") -> None:
            progress.advance()

        manifest = relabel(shards, out, labels, restart=restart, on_start=progress.begin, on_unit=advance)
    seconds = round(time.perf_counter() - began, 3)
    if as_json:
        json_line(
            {
                "shards_folder": name,
                "samples": manifest.samples,
                "shards": len(manifest.shards),
                "models": len(teachers),
                "classes": list(labels.names),
                "seconds": seconds,
                "manifest_sha256": manifest.sha256,
            }
        )
        return
    facts(
        {
            "cache": f"{name} ({counted(len(manifest.shards), 'shard')})",
            "texts": f"{counted(manifest.samples, 'row')}, labelled by {counted(len(teachers), 'model')}",
            "classes": list(labels.names),
            "time": f"{seconds:.1f} s",
        }
    )
    step_after("cache", name)
