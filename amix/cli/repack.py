"""`amix repack`: shards in, other shards out."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from amix.cli.output import facts, json_line, json_option, notice
from amix.cli.shell.places import LocalPath, Place, check_places, folder_or_url
from amix.cli.shell.progress import Progress
from amix.cli.shell.steps import said_how_to_go_on, step_after
from amix.engine.base.words import counted
from amix.loaders.shards.choices import RelevanceDtype

if TYPE_CHECKING:
    from amix.loaders.shards.manifest import Manifest
    from amix.loaders.shards.records import ShardRecord


@click.command()
@click.argument("shards", nargs=-1, required=True, type=LocalPath())
@click.argument("out", callback=folder_or_url)
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
def command(shards: tuple[Path, ...], out: Path | str, as_json: bool, **given: Any) -> None:  # noqa: ANN401  one value per option
    """Write the samples of one cache (SHARDS) or of several to OUT: fewer heads, another dtype, other shards.

    Rows are numbered consecutively: those of the second cache come after those of the first. Nothing is computed
    again, and every byte is checked on the way. To go on with a run that was stopped, give the same command again.
    """
    from amix.loaders.shards.manifest import Manifest
    from amix.loaders.shards.rewrite.repack import RepackOptions, repack
    from amix.loaders.shards.workspace import shards_are_kept
    from amix.loaders.stores import shown

    check_places(
        *(Place("SHARDS", folder, ["cache"]) for folder in shards),
        Place("OUT", out, [], is_output=True),
    )
    name = shown(out)
    sources = [Manifest.read(folder) for folder in shards]
    before = sum(source.tar_bytes for source in sources)
    began = time.perf_counter()
    with said_how_to_go_on(shards_are_kept(name, given["restart"])), Progress("repack", "shards") as progress:

        def advance(record: "ShardRecord") -> None:
            progress.advance()

        options = RepackOptions(**given)
        manifest = repack(shards, out, options, on_start=progress.begin, on_unit=advance)
    seconds = time.perf_counter() - began
    if as_json:
        json_line(
            {
                "shards_folder": name,
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
            "cache": f"{name} ({counted(len(manifest.shards), 'shard')})",
            "size": f"{manifest.tar_bytes / 1e6:.1f} MB, {before / 1e6:.1f} MB before",
            "texts": f"{counted(manifest.samples, 'row')} with {counted(manifest.tokens, 'token')}",
            "bytes per token": round(manifest.tar_bytes / max(1, manifest.tokens), 1),
            "time": f"{seconds:.1f} s",
        }
    )
    if manifest.tar_bytes > before:
        notice(_growth(sources, manifest))
    step_after("cache", name)


def _growth(sources: Sequence["Manifest"], out: "Manifest") -> str:
    """Return why a cache is larger than its sources, in bytes."""
    from amix.loaders.shards.layout import BLOCK
    from amix.loaders.shards.rewrite.sources import Room, room_of_arrays

    taken, values = Counter[str](), Counter[str]()
    for source in sources:
        for name, room in room_of_arrays(source).items():
            taken[name] += room.tar
            values[name] += room.values
    found = room_of_arrays(out)
    more = {name: found.get(name, Room(0, 0)).tar - taken[name] for name in {**found, **taken}}
    more["ends of tars"] = 2 * BLOCK * (len(out.shards) - sum(len(source.shards) for source in sources))
    growth = out.tar_bytes - sum(source.tar_bytes for source in sources)
    more["labels and texts"] = growth - sum(more.values())
    parts = ", ".join(f"{name} {change:+,}" for name, change in more.items() if change)
    kept = [
        f" {name} still takes {room.tar:,}, with {room.values:,} bytes of values instead of {values[name]:,}."
        for name, room in found.items()
        if not more[name] and room.values < values[name]
    ]
    return (
        f"It grew by {growth:,} bytes: {parts}. In a tar every member has a header of {BLOCK} bytes and is filled up "
        f"to whole blocks of {BLOCK}, so the arrays of a short text take the same room for fewer bytes.{''.join(kept)}"
    )
