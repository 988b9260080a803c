"""`amix push`: shards to the Hub or another store."""

from pathlib import Path

import click

from amix.cli.output import facts, json_line, json_option
from amix.cli.shell.places import LocalPath, Place, check_places
from amix.cli.shell.progress import Progress
from amix.cli.shell.steps import step_after


@click.command()
@click.argument("shards", type=LocalPath())
@click.argument("target")
@click.option(
    "--private/--public",
    default=None,
    help="Who can see a data set that is new on the Hub.  [default: as your account is set]",
)
@json_option
def command(shards: Path, target: str, private: bool | None, as_json: bool) -> None:
    """Send the cache SHARDS to TARGET, from where `RelevanceDataset` and `amix train` can read it.

    TARGET is a data set on the Hub (name/cache), or a URL that fsspec can write to (s3://bucket/cache).
    """
    from amix.loaders.shards.manifest import Manifest
    from amix.loaders.shards.remote.push import push

    check_places(
        Place("SHARDS", shards, ["cache"]),
        Place("TARGET", target, [], is_output=True, words="a data set on the Hub or a URL"),
    )
    with Progress("push", "files") as progress:
        url = push(shards, target, private=private, on_file=progress.advance)
    manifest = Manifest.read(shards)
    if as_json:
        json_line({"url": url, "samples": manifest.samples, "manifest_sha256": manifest.sha256})
        return
    facts({"sent to": url, "texts": f"{manifest.samples:,}", "read with": f'RelevanceDataset("{url}")'})
    step_after("cache", url)
