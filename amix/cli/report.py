"""`amix report`: one page about a run or a comparison."""

from pathlib import Path

import click

from amix.cli.output import json_line, json_option
from amix.cli.shell.places import LocalPath, Place, check_places
from amix.cli.shell.steps import open_page


@click.command()
@click.argument("folder", type=LocalPath())
@click.argument("out", type=LocalPath(dir_okay=False), required=False)
@json_option
def command(folder: Path, out: Path | None, as_json: bool) -> None:
    """Write a page about FOLDER, a run or a comparison, to OUT (by default FOLDER/report.html).

    It says what was mixed and how it came out, with curves, reliability, tables with intervals, texts shaded by
    relevance, and the command that runs it again: one file that needs no network.
    """
    from amix.engine.base.place import require_writable_file
    from amix.engine.base.publish import write_text
    from amix.study.report.reports import report

    check_places(Place("FOLDER", folder, ["run", "comparison"]))
    path = out or folder / "report.html"
    require_writable_file(path)
    write_text(path, report(folder))
    if as_json:
        json_line({"report": str(path)})
    else:
        click.echo(path)
        open_page(path)
