"""`amix repack`: shards in, other shards out."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from amix.cli.output import facts, json_line, json_option, notice
from amix.cli.shell.places import Place, check_places
from amix.cli.shell.progress import Progress
from amix.cli.shell.steps import said_how_to_go_on, step_after
from amix.engine.base.words import counted
from amix.loaders.shards.choices import RelevanceDtype

if TYPE_CHECKING:
    from amix.loaders.shards.records import ShardRecord


@click.command()
@click.argument("shards", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--heads",
    default="all",
    show_default=True,
    help="Heads to keep, with commas: all, a layer (0) or a single head (0.8). Both count from 0.",
)
@click.option(
    "--dtype",
    type=click.Choice(get_args(RelevanceDtype)),
    help="How relevance is stored.  [default: as in SHARDS]",
)
@click.option(
    "--samples-per-shard", type=click.IntRange(min=1), help="Corpus rows of a shard.  [default: as in SHARDS]"
)
@click.option("--no-text", is_flag=True, help="Leave stored texts out.")
@click.option("--restart", is_flag=True, help="Remove what an earlier run wrote to OUT, and start anew.")
@json_option
def command(shards: tuple[Path, ...], out: Path, as_json: bool, **given: Any) -> None:  # noqa: ANN401  one value per option
    """Write the samples of one cache (SHARDS) or of several to OUT: fewer heads, another dtype, other shards.

    Rows are numbered consecutively: those of the second cache come after those of the first. Nothing is computed
    again, and every byte is checked on the way. To go on with a run that was stopped, give the same command again.
    """
    from amix.loaders.shards.manifest import Manifest
    from amix.loaders.shards.repack import RepackOptions, repack
    from amix.loaders.shards.workspace import shards_are_kept

    check_places(
        *(Place("SHARDS", folder, ["cache"]) for folder in shards),
        Place("OUT", out, [], is_output=True),
    )
    before = sum(Manifest.read(folder).tar_bytes for folder in shards)
    began = time.perf_counter()
    with said_how_to_go_on(shards_are_kept(out, given["restart"])), Progress("repack", "shards") as progress:

        def advance(record: "ShardRecord") -> None:
            progress.advance()

        options = RepackOptions(**given)
        manifest = repack(shards, out, options, on_start=progress.begin, on_unit=advance)
    seconds = time.perf_counter() - began
    if as_json:
        json_line(
            {
                "shards_folder": str(out),
                "samples": manifest.samples,
                "tokens": manifest.tokens,
                "shards": len(manifest.shards),
                "bytes": manifest.tar_bytes,
                "bytes_before": before,
                "seconds": round(seconds, 3),
                "manifest_sha256": manifest.sha256,
            }
        )
        return
    if given["dtype"] == "uint8":
        notice("uint8 changes mixing ratios by about 0.004 on average (docs/shards.md).")
    facts(
        {
            "cache": f"{out} ({counted(len(manifest.shards), 'shard')})",
            "size": f"{manifest.tar_bytes / 1e6:.1f} MB, {before / 1e6:.1f} MB before",
            "texts": f"{counted(manifest.samples, 'row')} with {counted(manifest.tokens, 'token')}",
            "bytes per token": round(manifest.tar_bytes / max(1, manifest.tokens), 1),
            "time": f"{seconds:.1f} s",
        }
    )
    step_after("cache", out)
