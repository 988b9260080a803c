import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amix.engine.base.errors import CorpusError, UsageError
from amix.loaders.corpus import Corpus, CorpusOptions, Row, open_corpus
from amix.loaders.corpus.text import flaw_of_text

Write = Callable[[Path, Any], Path]


def opened(path: Path | str, **options: Any) -> Corpus:
    return open_corpus(str(path), CorpusOptions(**options))


@pytest.fixture
def reviews(tmp_path: Path, write_jsonl: Write) -> Path:
    rows = [{"text": f"review {number}", "label": number % 3, "second": "a pair"} for number in range(10)]
    return write_jsonl(tmp_path / "reviews.jsonl", rows)


def test_rows_carry_number_text_and_class_id(reviews: Path) -> None:
    corpus = opened(reviews)
    assert corpus.label_names == ("0", "1", "2")
    assert not corpus.multi_label
    rows = list(corpus.rows())
    assert rows[4] == Row(4, "review 4", label=1)
    assert [row.number for row in rows] == list(range(10))
    assert list(corpus.rows()) == rows  # as often as needed


@pytest.mark.parametrize("start", [0, 1, 7, 9, 10, 50])
def test_rows_start_anywhere(reviews: Path, start: int) -> None:
    assert list(opened(reviews).rows(start)) == list(opened(reviews).rows())[start:]


@pytest.mark.parametrize(("limit", "count"), [(1, 1), (4, 4), (10, 10), (99, 10)])
def test_limit_counts_from_the_first_row(reviews: Path, limit: int, count: int) -> None:
    corpus = opened(reviews, limit=limit)
    assert [row.number for row in corpus.rows()] == list(range(count))
    assert [row.number for row in corpus.rows(3)] == list(range(3, count))
    assert corpus.row_count == count  # the pass over the labels counted the rows
    assert corpus.label_names == ("0", "1", "2")  # class ids do not depend on the limit


def test_limit_below_one_is_refused(reviews: Path) -> None:
    with pytest.raises(UsageError, match="--limit 0"):
        opened(reviews, limit=0)


def test_pairs_and_no_labels(reviews: Path) -> None:
    corpus = opened(reviews, pair_column="second", no_labels=True, label_column="not there")
    assert corpus.label_names is None
    assert corpus.row_count == 10
    assert next(corpus.rows()) == Row(0, "review 0", "a pair")


def test_a_row_whose_pair_cannot_be_used_is_rejected(tmp_path: Path, write_jsonl: Write) -> None:
    rows = [{"text": "a", "b": "b", "label": 0}, {"text": "a", "b": None, "label": 0}]
    corpus = opened(write_jsonl(tmp_path / "p.jsonl", rows), pair_column="b")
    assert [row.reject for row in corpus.rows()] == [None, "pair is missing"]


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"text_column": "body"}, "--text-column"),
        ({"pair_column": "other"}, "--pair-column"),
        ({"label_column": "stars"}, "Texts without labels are for 'amix precompute --no-labels'."),
    ],
)
def test_a_wrong_column_name_lists_the_right_ones(
    reviews: Path, options: dict[str, str], remedy: str
) -> None:
    (wrong,) = options.values()
    with pytest.raises(CorpusError) as caught:
        opened(reviews, **options)
    assert f"no column {wrong!r}" in str(caught.value)
    assert "text, label, second" in str(caught.value)
    assert remedy in str(caught.value)


def test_identity_is_bytes_and_options_not_places(tmp_path: Path, reviews: Path) -> None:
    copy = tmp_path / "elsewhere" / "renamed.json"
    copy.parent.mkdir()
    copy.write_bytes(reviews.read_bytes())
    identity = opened(reviews).identity
    assert opened(copy).identity == identity
    assert str(tmp_path) not in json.dumps(identity)
    assert "reviews" not in json.dumps(identity)
    others: list[dict[str, Any]] = [
        {"limit": 5},
        {"pair_column": "second"},
        {"text_column": "second"},
        {"no_labels": True},
        {"labels": ("a", "b", "c")},
    ]
    seen = [json.dumps(identity), *(json.dumps(opened(reviews, **other).identity) for other in others)]
    assert len(set(seen)) == len(seen)
    copy.write_bytes(reviews.read_bytes() + b"\n")
    assert opened(copy).identity != identity


def test_identity_says_the_same_for_given_names_as_for_found_ones(reviews: Path) -> None:
    assert opened(reviews, labels=("0", "1", "2")).identity == opened(reviews).identity


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "text is missing"),
        (3, "text is a number, not a string"),
        (3.5, "text is a number, not a string"),
        (True, "text is a boolean, not a string"),
        (["a"], "text is a list, not a string"),
        ({"a": 1}, "text is an object, not a string"),
        ("", "text is empty"),
        (" \t\n\u00a0\u3000", "text is nothing but white space or invisible characters"),
        ("\u200b\u200d\ufeff\u2060\u00ad", "text is nothing but white space or invisible characters"),
        ("\ufe0f\U000e0101\u034f", "text is nothing but white space or invisible characters"),
        ("\u3164\u115f\uffa0\u2800", "text is nothing but white space or invisible characters"),
        ("half \ud83d of one", "text holds half a surrogate pair at character 6, which is not Unicode text"),
    ],
)
def test_a_text_that_cannot_be_used_is_a_reject_with_its_reason(
    tmp_path: Path, text: Any, reason: str
) -> None:
    path = tmp_path / "r.jsonl"
    rows = [{"text": "fine", "label": 1}, {"text": text, "label": 1}, {"text": "fine too", "label": 0}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    first, bad, last = opened(path).rows()
    assert (first.reject, last.reject, last.number) == (None, None, 2)
    assert bad == Row(1, None, reject=reason)


@pytest.mark.parametrize(
    "text", ["a", " \u200b.", "\U0001f600", "\u0301e", "\u4e2d", "\u2764\ufe0f", "1", "-"]
)
def test_anything_visible_is_a_text(text: str) -> None:
    assert flaw_of_text(text) is None


@given(st.text())
def test_a_text_is_refused_only_for_a_reason(text: str) -> None:
    flaw = flaw_of_text(text)
    if flaw is None:
        assert text.strip()
        assert text.encode().decode() == text
    else:
        assert not text.isascii() or not text.strip() or not text.isprintable()


@pytest.mark.parametrize("no_labels", [False, True])
def test_files_and_the_rows_that_are_taken_from_each(
    tmp_path: Path, write_jsonl: Write, no_labels: bool
) -> None:
    for name, count in (("a", 3), ("b", 2), ("c", 4)):
        rows = [{"text": f"{name} {number}", "label": number} for number in range(count)]
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    for limit, counts in ((None, [3, 2, 4]), (4, [3, 1, 0]), (5, [3, 2, 0]), (99, [3, 2, 4])):
        corpus = opened(tmp_path / "*.jsonl", limit=limit, no_labels=no_labels)
        assert [(file.name, file.row_count) for file in corpus.files] == [
            (f"{name}.jsonl", count) for name, count in zip("abc", counts, strict=True)
        ]
        assert corpus.row_count == sum(counts)


def test_standard_input_and_pipes_are_refused_for_the_true_reason(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    for source, kind in (("-", "standard input"), (tmp_path / "pipe.jsonl", r"a pipe \(FIFO\)")):
        with pytest.raises(CorpusError, match=f"{kind}.* read more than once.*regular file"):
            opened(source)
    with pytest.raises(CorpusError, match="FIFO"):
        opened(tmp_path / "*.jsonl")
    with pytest.raises(CorpusError, match="a device"):
        opened("/dev/null")


def test_a_name_that_is_not_utf8(tmp_path: Path, write_jsonl: Write) -> None:
    folder = tmp_path / os.fsdecode(b"\xe9t\xe9")
    write_jsonl(folder / os.fsdecode(b"tr\xe4in.jsonl"), [{"text": "a film", "label": 0}])
    corpus = opened(folder / os.fsdecode(b"tr\xe4in.jsonl"))
    assert [file.name for file in corpus.files] == [r"tr\xe4in.jsonl"]
    assert json.dumps(corpus.identity, ensure_ascii=False).encode()
    assert next(corpus.rows()).text == "a film"
    assert next(opened(folder / "*.jsonl").rows()).text == "a film"


def test_given_labels_must_be_names(reviews: Path) -> None:
    for labels, message in (
        ((), "no names"),
        (("a", " "), "name 2 is empty"),
        (("a", "b", "a"), "'a' is listed twice"),
    ):
        with pytest.raises(UsageError, match=message):
            opened(reviews, labels=labels)
