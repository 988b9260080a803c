"""The page on error messages, from the errors in the sources: what each says, with a word in place of what varies."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pages.text import marked

ROOT = Path(__file__).parents[1]
PAGE = "docs/troubleshooting.md"

# Heading -> the folders or modules whose errors stand below it. The first that fits a module is taken.
AREAS = {
    "Reading a corpus and its labels": ("loaders/corpus",),
    "Exporting an encoder": ("exporters", "cli/export"),
    "Extractors and devices": ("engine/extractor",),
    "Precomputing": ("loaders/precompute", "cli/precompute"),
    "Shards and caches": ("loaders/shards", "study/shards", "cli/repack", "cli/push", "cli/verify"),
    "Buckets and the Hub": ("loaders/stores",),
    "Batches from shards": ("loaders/stream",),
    "Mixing": ("engine/mixing",),
    "Options and configuration files": ("train/options",),
    "Models and training": ("train", "cli/train"),
    "Comparisons, reports and fits": ("study",),
    "Files, folders, heads and the machine": ("engine/base",),
    "The command line": ("cli",),
}
_INTRO = """# Error messages

Everything that amix reports to its users is one of the messages below, as an `AmixError`. The command `amix` prints it
after `Error:`, without a traceback, and ends with exit code 1, or 2 for an option that cannot be right. Search this
page for some words of your message. What varies, such as a path, stands in angle brackets. What follows a message is
the rest of what it says: what to do. An `unexpected` error is a bug: please report it, with what `--debug` shows.

This page is made from the sources by `make pages`.
"""
# Functions that say nothing of what they are given.
_PLAIN = ("counted", "int", "join", "len", "repr", "sorted", "str")
_SENTENCES = re.compile(r"(?<=[.?!]) (?=[A-Z⟨'])")


@dataclass(frozen=True)
class Message:
    """One error of the sources. kind: its class.  module: below `amix/`.  text: with ⟨words⟩ where something varies."""

    kind: str
    module: str
    text: str


def messages() -> list[Message]:
    """Return every error message of amix, by module and line."""
    trees = {
        path.relative_to(ROOT / "amix").as_posix(): ast.parse(path.read_text("utf-8"))
        for path in sorted((ROOT / "amix").rglob("*.py"))
    }
    family = _family(list(trees.values()))
    found = [
        Message(kind, module, text) for module, tree in trees.items() for kind, text in _raised(tree, family)
    ]
    return list(dict.fromkeys(found))


def page() -> str:
    """Return the page."""
    by_area: dict[str, list[Message]] = {area: [] for area in AREAS}
    for message in messages():
        by_area[_area(message.module)].append(message)
    parts = [_INTRO]
    for area, found in by_area.items():
        parts.append(f"## {area}\n")
        parts += [_entry(message) for message in sorted(found, key=lambda each: _sortable(each.text))]
    return "\n".join(parts)


def _family(trees: list[ast.Module]) -> set[str]:
    """Return the names of AmixError and all that descends from it, and of click's own errors."""
    family = {"AmixError", "BadParameter", "ClickException"}
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    while True:
        more = {one.name for one in classes if {_name(base) for base in one.bases} & family} - family
        if not more:
            return family
        family |= more


def _raised(tree: ast.Module, family: set[str]) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = _name(node.func)
        # `error` is what functions call the class that they are given.
        is_given = isinstance(node.func, ast.Name) and name == "error"
        text = _text(node.args[0])
        if (name in family or is_given) and len(_sortable(text).split()) > 1:
            yield ("AmixError" if is_given else name), text


def _text(node: ast.expr) -> str:
    """Return a string of the sources, with ⟨words⟩ in place of what it is filled with; "" for another expression."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if not isinstance(node, ast.JoinedStr):
        return ""
    return "".join(
        f"⟨{_word(part.value)}⟩" if isinstance(part, ast.FormattedValue) else _text(part)
        for part in node.values
    )


def _word(node: ast.expr) -> str:
    """Return a word for an expression: the last name in it that says what it is."""
    match node:
        case ast.Name() | ast.Attribute():
            return _name(node).strip("_").lower().replace("_", " ")
        case ast.Call(args=[first, *_]) if _name(node.func) in (
            "counted",
            "repr",
            "str",
            "len",
            "join",
            "sorted",
            "int",
        ):
            return _word(first)
        case ast.Call(func=func):
            return _word(func)
        case ast.Subscript(value=value) | ast.Await(value=value):
            return _word(value)
        case _:
            return "…"


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _area(module: str) -> str:
    return next(
        area
        for area, places in AREAS.items()
        if any(module.startswith((f"{place}/", f"{place}.")) for place in places)
    )


def _sortable(text: str) -> str:
    return re.sub(r"⟨[^⟩]*⟩|[^a-z ]", "", text.lower()).strip()


def _entry(message: Message) -> str:
    says, *advice = _SENTENCES.split(" ".join(message.text.split()))
    mark = "``" if "`" in says else "`"
    advice = [sentence for sentence in advice if _sortable(sentence)]
    lines = [f"{mark}{says}{mark}", marked(" ".join(advice)), f"*{message.kind}, amix/{message.module}*"]
    return "- " + "  \n  ".join(line for line in lines if line) + "\n"  # two spaces: a line ends there


if __name__ == "__main__":
    (ROOT / PAGE).write_text(page(), "utf-8")
