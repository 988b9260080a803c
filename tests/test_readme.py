"""README's first command and its blocks of Python, run as they are printed."""

import csv
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

from amix.study.fit.defaults import MODEL
from tests.conftest import named
from tests.hubcache import offline

ROOT = Path(__file__).parents[1]


# Each block in a namespace of its own, as in a file of its own; what it warns of is printed.
RUN = """
import warnings
from pathlib import Path
for block in {blocks!r}:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        exec(compile(block, "README.md", "exec"), found := {{"__name__": "__main__"}})
    print(*(each.message for each in told), sep="\\n", end="")
    print("ran", found["loss"].isfinite().item() if "loss" in found else found["trainer"].state.epoch)
"""


def blocks() -> list[str]:
    return re.findall(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
    )


def test_the_blocks_run_as_they_are_printed(
    reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    for name, cache in (("train", reviews), ("validation", held_out)):
        shutil.copytree(cache, tmp_path / "shards" / name)
    assert len(blocks()) == 2
    said = offline(tiny_bert, tmp_path / "hub", RUN.format(blocks=blocks()), MODEL, tmp_path)
    lines = said.splitlines()
    assert [line for line in lines if line.startswith("ran")] == ["ran True", "ran 5.0"]
    assert "eval_accuracy" in said
    assert not [line for line in lines if "pin_memory" in line]


def test_the_first_command_runs_as_it_is_printed(
    review_rows: list[dict[str, Any]], tiny_bert: Path, tmp_path: Path
) -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    program, *words = shlex.split(re.findall(r"^amix .*$", text, re.MULTILINE)[3])
    assert (program, words[0]) == ("amix", "fit")  # after the table of the three stages
    for name, rows in (("reviews.csv", review_rows[:40]), ("test.csv", review_rows[40:])):
        with (tmp_path / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "review", "stars"])
            writer.writerows([number, row["text"], named(row)["label"]] for number, row in enumerate(rows))
    code = f"import sys; from amix.cli import main; sys.exit(main({words!r}))"
    said = offline(tiny_bert, tmp_path / "hub", code, MODEL, tmp_path)
    assert [line.split()[0] for line in said.splitlines()[:3]] == ["method", "attentionmix", "none"]
    assert (tmp_path / "out" / "report.html").is_file()
