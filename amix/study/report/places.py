"""Folders and models as pages show them: nothing names this machine or its user."""

import shlex
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import PurePath
from urllib.parse import urlsplit

import yaml

from amix.loaders.stores import is_remote
from amix.study.report.page import Html


def place_name(location: str | PurePath) -> str:
    """Return a folder, URL or Hub id as a page may show it: the last part of what names a machine or its user."""
    text = str(location)
    if is_remote(text):
        return urlsplit(text).path.rstrip("/").rpartition("/")[2] or "remote folder"
    path = PurePath(text)
    return (path.name or "folder") if path.is_absolute() or ".." in path.parts else text


def with_place_names(value: object) -> object:
    """Return JSON values whose texts are shown by `place_name`."""
    match value:
        case str():
            return place_name(value)
        case dict():
            return {key: with_place_names(each) for key, each in value.items()}
        case list() | tuple():
            return [with_place_names(each) for each in value]
        case _:
            return value


def again(command: Sequence[str], name: str, written: str, document: Mapping[str, object]) -> Html:
    """Return the command that gives a result again, and the options in the file `name`.

    written: the file's text, whose first lines are comments.  document: what it holds.
    """
    comments = [line for line in written.splitlines() if line.startswith("#")]
    shown = yaml.safe_dump(with_place_names(dict(document)), sort_keys=False, allow_unicode=True)
    text = "\n".join([*comments, shown])
    return Html(
        f"<pre>{escape(shlex.join(command))}</pre><p>with the file {escape(name)} in its folder, which holds "
        f"these options and the whole paths of what is named here:</p><details><summary>{escape(name)}</summary>"
        f"<pre>{escape(text)}</pre></details>"
    )
