"""What the documents claim about the tests."""

import importlib
import itertools
import re
from pathlib import Path
from typing import Any

from tests.engine.mixing import test_methods as module

DOCS = Path(__file__).parents[1] / "docs"


def methods_of(test: Any) -> set[str]:
    """The methods that a test of the property table runs for."""
    for mark in getattr(test, "pytestmark", ()):
        if mark.name == "parametrize" and mark.args[0] == "method":
            return set(mark.args[1])
        if mark.name == "parametrize" and mark.args[0] == "level":
            return {"attentionmix", "attentionmix-hidden"}
    return set()


def test_every_cell_of_the_property_table_is_a_test_and_every_test_a_cell() -> None:
    text = (DOCS / "methods.md").read_text()
    header = next(line for line in text.splitlines() if line.startswith("| property |"))
    names = [cell.strip() for cell in header.strip("|").split("|")][1:]
    assert names == list(module.METHODS)
    claimed: dict[str, set[str]] = {}
    for row in re.findall(r"^\| [a-z ]+ \|(?: (?:`\w+\[[\w-]+\]`|-) \|)+$", text, re.MULTILINE):
        for name, cell in zip(names, [cell.strip() for cell in row.strip("|").split("|")][1:], strict=True):
            if cell == "-":
                continue
            test, method = re.fullmatch(r"`(\w+)\[([\w-]+)\]`", cell).groups()  # type: ignore[union-attr]
            assert method == name
            claimed.setdefault(test, set()).add(method)
    tests = {
        name.removeprefix("test_"): methods_of(getattr(module, name))
        for name in dir(module)
        if name.startswith("test_") and methods_of(getattr(module, name)) and "_refused" not in name
    }
    assert claimed == tests


def test_every_step_of_the_two_paths_is_a_function_of_its_module() -> None:
    text = (DOCS / "architecture.md").read_text()
    steps = re.findall(r"^\| (\d+) \| `([\w/]+)\.py`: `([\w.]+)` \|", text, re.MULTILINE)
    assert [int(number) for number, _, _ in steps] == [*range(1, 11)] * 2
    for _, path, name in steps:
        found: object = importlib.import_module("amix." + path.replace("/", "."))
        for part in name.split("."):
            found = getattr(found, part)
        assert callable(found), name
    for path_of_rooms in (steps[:10], steps[10:]):
        rooms = ["/".join(path.split("/")[:2]) for _, path, _ in path_of_rooms]
        entered = [room for room, _ in itertools.groupby(rooms)]
        assert len(entered) == len(set(entered)), f"a room is entered twice: {entered}"


def test_every_file_that_a_page_names_is_there() -> None:
    root = DOCS.parent
    for page in [root / "README.md", root / "CONTRIBUTING.md", *DOCS.glob("*.md")]:
        for name in re.findall(r"`((?:amix|tests|bench|examples|docs)/[\w./-]+\.\w+)`", page.read_text()):
            assert name == "amix/cli/NAME.py" or (root / name).exists(), f"{page.name} names {name}"
