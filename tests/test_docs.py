"""What the documents claim about the tests."""

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
