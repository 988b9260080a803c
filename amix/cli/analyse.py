"""`amix analyse`: what the heads of a cache attend to."""

from pathlib import Path
from typing import get_args

import click

from amix.cli.output import json_line, json_option, notice, table
from amix.cli.shell.places import LocalPath, Place, check_places
from amix.cli.shell.steps import open_page
from amix.study.attention.language import Language


@click.command()
@click.argument("shards")
@click.argument("out", type=LocalPath())
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=2_000,
    show_default=True,
    help="How many texts to analyse, drawn at random.",
)
@click.option(
    "--subset-seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed for drawing the texts.",
)
@click.option(
    "--tag",
    type=click.Choice(get_args(Language)),
    help="Also show which parts of speech are attended to, in this language.",
)
@json_option
def command(
    shards: str, out: Path, samples: int, subset_seed: int, tag: Language | None, as_json: bool
) -> None:
    """Show what each head of the cache SHARDS attends to, and write analysis.json and analysis.html to OUT.

    That is: how much attention special tokens receive, how evenly words are attended to, where in a text, which parts
    of speech (--tag, with the extra [pos]), and how far heads agree.
    """
    from amix.engine.base.place import make_folder, require_writable
    from amix.engine.base.publish import write_text
    from amix.loaders.stores import shown
    from amix.study.attention.analysis import analyse
    from amix.study.attention.tagging import open_tagger
    from amix.study.report.heads import analysis_page

    check_places(Place("SHARDS", shards, ["cache"]), Place("OUT", out, ["analysis"], is_output=True))
    require_writable(out)
    tagger = None if tag is None else open_tagger(tag)
    analysis = analyse(shards, samples=samples, subset_seed=subset_seed, tagger=tagger)
    make_folder(out)
    analysis.write(out)
    write_text(out / "analysis.html", analysis_page(analysis, shown(shards)))
    if as_json:
        json_line({"out": str(out), "texts": analysis.texts, "heads": len(analysis.heads)})
        return
    special = sorted({name for each in analysis.heads for name in each.special})
    rows = [
        [f"{each.layer}.{each.head}", each.entropy, *(each.special.get(name, 0.0) for name in special)]
        for each in analysis.heads
    ]
    table(["head", "entropy", *special], rows)
    notice(f"{out}: analysis.html shows it as maps; analysis.json has every number.")
    open_page(out / "analysis.html")
