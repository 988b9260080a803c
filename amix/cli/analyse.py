"""`amix analyse`: what the heads of a cache attend to."""

import json
from pathlib import Path

import click

from amix.cli.output import json_line, json_option, notice, table


@click.command()
@click.argument("shards")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--texts", type=click.IntRange(min=1), default=2_000, show_default=True, help="Drawn at random."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of that draw.")
@click.option(
    "--tag", type=click.Choice(["en", "de", "nl"]), help="Also by part of speech, in this language."
)
@json_option
def command(shards: str, out: Path, texts: int, seed: int, tag: str | None, as_json: bool) -> None:
    """Say what each head of the cache SHARDS attends to, and write analysis.json and analysis.html to OUT.

    Special tokens, how evenly words are attended to, where in a text, which kinds of words (--tag, with the extra
    [pos]), and how heads agree.
    """
    from amix.engine.base.publish import write_atomic
    from amix.loaders.shards.remote import shown
    from amix.study.attention.analysis import analyse
    from amix.study.attention.tagging import open_tagger
    from amix.study.report.heads import analysis_page

    analysis = analyse(shards, texts=texts, seed=seed, tagger=None if tag is None else open_tagger(tag))
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "analysis.json", json.dumps(analysis.as_dict(), indent=1).encode() + b"\n")
    write_atomic(out / "analysis.html", analysis_page(analysis, shown(shards)).encode())
    if as_json:
        json_line({"out": str(out), "texts": analysis.texts, "heads": len(analysis.heads)})
        return
    special = sorted({name for each in analysis.heads for name in each.special})
    rows = [
        [f"{each.layer}.{each.head}", each.entropy, *(each.special.get(name, 0.0) for name in special)]
        for each in analysis.heads
    ]
    table(["head", "entropy", *special], rows)
    notice(f"{out}: analysis.html shows it as maps; analysis.json holds all of it.")
