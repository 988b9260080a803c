"""`amix info`: what a file or folder is, and what is in it."""

from collections.abc import Callable, Mapping

import click

from amix.cli.description import data, training
from amix.cli.output import facts, json_line, json_option, notice
from amix.cli.shell.places import unknown
from amix.cli.shell.steps import step_after
from amix.engine.base.errors import AmixError
from amix.engine.base.kinds import Kind, kind_of

_FOR_MACHINES = ("asked", "problem")  # too much to read, or a sentence, which is shown as one


@click.command()
@click.argument("folder")
@json_option
def command(folder: str, as_json: bool) -> None:
    """Say what FOLDER is and what it holds: a cache, an extractor, a fit, a run, a comparison, a model or a corpus.

    A cache may be at a URL. A corpus may be a file: its columns are listed, and those that texts and labels are read
    from where no others are named.
    """
    from amix.loaders.stores import is_remote

    kind = "cache" if is_remote(folder) else kind_of(folder)
    if kind is None:
        raise AmixError(unknown(folder))
    found = {"kind": "shards" if kind == "cache" else kind, **_DESCRIBED[kind](folder)}
    if as_json:
        json_line(found)
        return
    # `max_length` beside `length_max` would be a riddle.
    names = {name: name.replace("_", " ") for name in found} | {"max_length": "length limit"}
    facts(
        {
            names[name]: value
            for name, value in found.items()
            if value is not None and name not in _FOR_MACHINES
        }
    )
    if kind == "corpus":
        _explain(found)
    step_after(kind, folder)


def _explain(found: Mapping[str, object]) -> None:
    """Say what keeps a corpus from being read as it is."""
    if (problem := found.get("problem")) is not None:
        notice(f"'amix precompute' would stop here. {problem}")
        return
    for what in ("text", "label"):
        if found[f"{what}_column"] is None:
            notice(
                f"No column is called '{what}'. Tell 'amix fit' or 'amix precompute' by --{what}-column which one "
                f"has the {what}s."
            )


_DESCRIBED: Mapping[Kind, Callable[[str], data.Facts]] = {
    "fit": training.fit,
    "extractor": data.extractor,
    "cache": data.shards,
    "unfinished cache": data.unfinished,
    "folder of caches": data.caches,
    "run": training.run,
    "comparison": training.comparison,
    "ranking": training.ranking,
    "analysis": training.analysis,
    "checkpoint": training.checkpoint,
    "model": training.model,
    "corpus": data.corpus,
}
