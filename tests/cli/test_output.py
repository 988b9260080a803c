"""What commands print: tables for people, one JSON object for machines."""

import json

import pytest

from amix.cli import output


def test_a_table_aligns_numbers_right_and_words_left(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(["method", "accuracy", "rows"], [["none", 0.75, 7], ["attentionmix", None, 1234]])
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "method        accuracy  rows",
        "none            0.7500     7",
        "attentionmix         -  1234",
    ]
    assert captured.err == ""


def test_a_row_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="2 cells"):
        output.table(["a", "b"], [[1]])


def test_json_is_one_line_that_any_parser_reads(capsys: pytest.CaptureFixture[str]) -> None:
    output.json_line({"nll": float("nan"), "text": "ü\n", "deep": [{"x": float("inf")}, (1, 2)]})
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {"nll": None, "text": "ü\n", "deep": [{"x": None}, [1, 2]]}


def test_a_notice_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    output.notice("3 rows could not be used.")
    assert capsys.readouterr() == ("", "3 rows could not be used.\n")


def test_facts_stand_in_two_columns(capsys: pytest.CaptureFixture[str]) -> None:
    output.facts({"shards": 3, "has labels": True})
    assert capsys.readouterr().out == "shards      3\nhas labels  yes\n"
