"""`amix verify`: is a folder complete and undamaged?"""

from pathlib import Path

import click

from amix.cli.output import json_line, json_option


@click.command()
@click.argument("folder")
@click.option("--deep", is_flag=True, help="Also hash every file of a cache, and check every sample.")
@json_option
def command(folder: str, deep: bool, as_json: bool) -> None:
    """Check the cache or the extractor in FOLDER for damage. A cache may be at a URL.

    Without --deep, a cache is checked quickly: hashes of its documents, sizes and counts. The exit code is 1 when
    anything is wrong.
    """
    from amix.engine.base.errors import ExtractorError, ShardError
    from amix.engine.extractor.folder import RECORD, open_extractor
    from amix.loaders.shards.remote import shown
    from amix.loaders.shards.verify import verify

    if (Path(folder) / RECORD).is_file():
        try:
            open_extractor(Path(folder))  # hashes every file in any case
            problems = []
        except ExtractorError as problem:
            problems = [str(problem)]
    else:
        from tqdm import tqdm

        with tqdm(unit=" shards", disable=None, desc="verify") as bar:

            def on_shard(name: str) -> None:
                bar.update()

            problems = verify(folder, deep=deep, on_shard=on_shard)
    if as_json:
        json_line({"folder": shown(folder), "deep": deep, "ok": not problems, "problems": problems})
    elif not problems:
        click.echo(
            f"{shown(folder)}: whole"
            + ("" if deep else " (documents, sizes and counts; --deep checks every byte)")
        )
    if problems:
        raise ShardError("\n".join(problems))
