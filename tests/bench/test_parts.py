"""The parts that benches share: made up texts, and what is kept of figures."""

import json
import statistics
from pathlib import Path

import pytest
from measuring import madetexts
from measuring.boundtable import bound_table, chart


@pytest.mark.parametrize(("kind", "median"), [("short", 21), ("long", 174)])
def test_made_up_texts_have_the_lengths_that_they_stand_for(kind: str, median: int, tmp_path: Path) -> None:
    path = madetexts.write(tmp_path / "texts.jsonl", kind, 400)
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    lengths = [len(row["text"].split()) for row in rows]
    assert median * 0.8 < statistics.median(lengths) < median * 1.25
    assert max(lengths) > 2 * median
    assert [row["label"] for row in rows[:3]] == ["a", "b", "a"]
    assert madetexts.write(tmp_path / "again.jsonl", kind, 400).read_bytes() == path.read_bytes()


def test_medians_are_kept_with_their_range_and_what_was_not_measured_is_said() -> None:
    figures = {"ours": [3.0, 1.0, 2.0], "theirs": [1.0]}
    lines, kept = bound_table([("ours", "speed", 2.5, ">="), ("other", "size", 1.0, "<=")], figures)
    assert lines[2:] == ["| speed | >= 2.5 | 2 | 1 to 3 |", "| size | <= 1 | - | not measured |"]
    assert [(each["value"], each["turns"]) for each in kept] == [(2.0, 3), (None, 0)]
    shown = chart("Rates", "texts/s", {"ours": "amix", "other": "a peer that is not there"}, figures)
    assert [(each["measure"], each["least"], each["value"], each["most"]) for each in shown] == [
        ("amix", 1.0, 2.0, 3.0)
    ]
