"""`amix repack`: shards in, other shards out."""

import time
from pathlib import Path
from typing import Any

import click

from amix.cli.output import facts, json_line, json_option, notice


@click.command()
@click.argument("shards", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--heads", default="all", show_default=True, help="Heads to keep: all, layers (0,1) or heads (0.8,1.3)."
)
@click.option(
    "--dtype",
    type=click.Choice(["float16", "uint8", "float32"]),
    help="How relevance is stored.  [default: as it is]",
)
@click.option("--samples-per-shard", type=click.IntRange(min=1), help="[default: as it is]")
@click.option("--no-text", is_flag=True, help="Leave stored texts out.")
@click.option("--restart", is_flag=True, help="Remove what an earlier run wrote to OUT, and start anew.")
@json_option
def command(shards: tuple[Path, ...], out: Path, as_json: bool, **given: Any) -> None:  # noqa: ANN401  one value per option
    """Write the samples of one folder of SHARDS or of several to OUT, slimmer or in other shards.

    Rows are numbered through: those of the second folder come after those of the first. Nothing is computed anew, and
    every byte is checked on the way. A run that was stopped goes on when the same command is given again.
    """
    from tqdm import tqdm

    from amix.loaders.shards.manifest import Manifest
    from amix.loaders.shards.repack import RepackOptions, repack
    from amix.loaders.shards.workspace import shards_are_kept

    before = sum(Manifest.read(folder).fields["bytes"] for folder in shards)
    began = time.perf_counter()
    with tqdm(unit=" shards", disable=None, desc="repack") as bar:

        def begin(done: int, units: int) -> None:
            bar.reset(units)
            bar.update(done)

        def advance(record: dict[str, Any]) -> None:
            bar.update()

        try:
            manifest = repack(shards, out, RepackOptions(**given), on_start=begin, on_unit=advance)
        except KeyboardInterrupt:
            notice(shards_are_kept(out, given["restart"])("Ctrl-C"))
            raise
    seconds, fields = time.perf_counter() - began, manifest.fields
    if as_json:
        json_line(
            {
                "shards_folder": str(out),
                "samples": manifest.samples,
                "tokens": manifest.tokens,
                "shards": len(manifest.shards),
                "bytes": fields["bytes"],
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
            "shards": f"{out} ({len(manifest.shards)} shards)",
            "size": f"{fields['bytes'] / 1e6:.1f} MB, {before / 1e6:.1f} MB before",
            "texts": f"{manifest.samples:,} with {manifest.tokens:,} tokens",
            "bytes per token": round(fields["bytes"] / max(1, manifest.tokens), 1),
            "time": f"{seconds:.1f} s",
        }
    )
