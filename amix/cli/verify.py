"""`amix verify`: is a folder complete and undamaged?"""

from collections.abc import Callable, Mapping
from pathlib import Path

import click

from amix.cli.output import json_line, json_option
from amix.cli.shell.places import unknown
from amix.cli.shell.progress import Progress
from amix.cli.shell.steps import step_after
from amix.engine.base.kinds import NAMES, Kind, children, kind_of


@click.command()
@click.argument("folder")
@click.option("--deep", is_flag=True, help="Also hash every file of a cache, and check every sample.")
@json_option
def command(folder: str, deep: bool, as_json: bool) -> None:
    """Check what amix wrote to FOLDER for damage: a cache, an extractor, a run, a comparison, or a model.

    A cache may be at a URL. Without --deep it is checked quickly: hashes of its documents, sizes and counts. An
    extractor is hashed. Of a run or a comparison, what carries a hash is compared with it, and all else is read. The
    exit code is 1 when anything is wrong.
    """
    from amix.engine.base.errors import ShardError
    from amix.loaders.stores import is_remote, shown

    kind = "cache" if is_remote(folder) else kind_of(folder)
    how, problems = _checked(kind, folder, deep)
    if as_json:
        found = {
            "folder": shown(folder),
            "kind": kind,
            "deep": deep,
            "ok": not problems,
            "problems": problems,
        }
        json_line(found)
    elif kind is not None and not problems:
        what = "" if kind == "cache" else f"{NAMES[kind]}, "
        click.echo(f"{shown(folder)}: {what}{how}")
        step_after(kind, folder)
    if problems:
        raise ShardError("\n".join(problems))


def _checked(kind: Kind | None, folder: str, deep: bool) -> tuple[str, list[str]]:
    """Return how the folder was checked, as a result if nothing is wrong, and what is wrong."""
    match kind:
        case "extractor":
            return "whole (every byte)", _extractor(Path(folder))
        case "fit":
            return "whole, part by part", _fit(Path(folder), deep)
        case "corpus":
            return "", [
                f"{folder}: is a corpus; there is nothing to verify before 'amix precompute' reads it."
            ]
        case None:
            return "", [unknown(folder)]
        case "run" | "comparison" | "checkpoint" | "ranking" | "analysis" | "model":
            return _HOW[kind], _of_training()[kind](Path(folder))
        case _:
            inside = [name for name, each in children(Path(folder)).items() if each == "cache"]
            caches = [str(Path(folder, name)) for name in inside] if kind == "folder of caches" else [folder]
            extent = "every byte" if deep else "documents, sizes and counts; --deep checks every byte"
            return f"whole ({extent})", [problem for cache in caches for problem in _shards(cache, deep)]


_HOW: Mapping[Kind, str] = {
    "run": "whole (checkpoints match their hashes; log, options, predictions and model have none, and can be read)",
    "comparison": "whole (results match their hashes; the rest of each run has none, and can be read)",
    "checkpoint": "whole (every byte)",
    "ranking": "can be read (it has no hash to compare with)",
    "analysis": "can be read (it has no hash to compare with)",
    "model": "can be read, and its weights are all there (it has no hash to compare with)",
}


def _fit(folder: Path, deep: bool) -> list[str]:
    from amix.engine.base.errors import TrainError
    from amix.study.fit.record import FitRecord

    try:
        FitRecord.read(folder)
        problems = []
    except TrainError as problem:
        problems = [str(problem)]
    parts = {name: kind for name, kind in children(folder).items() if kind != "corpus"}  # its own JSON
    for name, kind in parts.items():
        problems += _checked(kind, str(folder / name), deep)[1]
    return problems


def _extractor(folder: Path) -> list[str]:
    from amix.engine.base.errors import ExtractorError
    from amix.engine.extractor.folder import open_extractor

    try:
        open_extractor(folder)  # hashes every file
    except ExtractorError as problem:
        return [str(problem)]
    return []


def _of_training() -> Mapping[Kind, Callable[[Path], list[str]]]:
    from amix.study import verify

    return {
        "run": verify.verify_run,
        "comparison": verify.verify_comparison,
        "checkpoint": verify.verify_checkpoint,
        "ranking": verify.verify_ranking,
        "analysis": verify.verify_analysis,
        "model": verify.verify_model,
    }


def _shards(folder: str, deep: bool) -> list[str]:
    from amix.loaders.shards.verify import verify

    with Progress("verify", "shards") as progress:
        return verify(folder, deep=deep, on_shard=progress.advance)
