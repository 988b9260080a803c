import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amix.engine.base.errors import CorpusError
from amix.loaders.corpus import Corpus, CorpusOptions, open_corpus

Labelled = Callable[..., Corpus]
NAN = float("nan")


@pytest.fixture
def labelled(tmp_path: Path) -> Labelled:
    """A JSON Lines corpus with the given labels; `...` leaves the key out."""

    def open_(*values: Any, **options: Any) -> Corpus:
        rows = [{"text": "a"} | ({} if value is ... else {"label": value}) for value in values]
        path = tmp_path / "a.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return open_corpus(str(path), CorpusOptions(**options))

    return open_


def ids(corpus: Corpus) -> list[int | None]:
    return [row.label for row in corpus.rows()]


def reasons(corpus: Corpus) -> list[str | None]:
    return [row.reject for row in corpus.rows()]


@pytest.mark.parametrize(
    ("values", "names", "expected"),
    [
        ([0, 1, 1], ("0", "1"), [0, 1, 1]),
        ([3, 1], ("0", "1", "2", "3"), [3, 1]),  # as given: stars 1 to 5 stay 1 to 5
        ([1.0, 0.0, 2], ("0", "1", "2"), [1, 0, 2]),
        ([True, False], ("false", "true"), [1, 0]),
        ([True], ("false", "true"), [1]),
        (["pos", "neg", "pos"], ("neg", "pos"), [1, 0, 1]),
        (["10", "9"], ("10", "9"), [0, 1]),  # strings in JSON are meant as strings
        (["\u00fcber", "Zebra", "apfel"], ("Zebra", "apfel", "\u00fcber"), [2, 0, 1]),
    ],
)
def test_ids_without_given_names(
    labelled: Labelled, values: list[Any], names: tuple[str, ...], expected: list[int]
) -> None:
    corpus = labelled(*values)
    assert corpus.label_names == names
    assert ids(corpus) == expected


@pytest.mark.parametrize(
    ("given", "values", "expected"),
    [
        (("pos", "neg"), ["neg", "pos"], [1, 0]),
        (("neg", "pos"), [0, 1], [0, 1]),  # indices into the names
        (("0", "1", "2"), [2, 0], [2, 0]),
        (("1", "2", "5"), [5, 1, 2], [2, 0, 1]),  # names that are integers are matched as names
        (("0.0", "1.0"), [1, 0], [1, 0]),
        (("no", "yes"), [True, False], [1, 0]),
        (("true", "false"), [True, False], [0, 1]),
        (("a", "b", "c"), ["b"], [1]),
    ],
)
def test_ids_under_given_names(
    labelled: Labelled, given: tuple[str, ...], values: list[Any], expected: list[int]
) -> None:
    corpus = labelled(*values, labels=given)
    assert corpus.label_names == given
    assert ids(corpus) == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (..., "label is missing"),
        (None, "label is missing"),
        (NAN, "label is missing (NaN)"),
        (-1, "no label (-1)"),
        (-1.0, "no label (-1)"),
        (-3, "label -3 is negative"),
        (0.5, "label 0.5 is neither a whole number nor a name"),
        (float("inf"), "label inf is neither a whole number nor a name"),
        ("", "label is empty"),
        ("  ", "label is empty"),
        ("half \ud83d", r"label 'half \ud83d' holds half a surrogate pair"),
        ([], "label is an empty list"),
        ({"a": 1}, "label is an object; it must be a number, a name or a list of numbers"),
    ],
)
def test_a_label_that_cannot_be_used_is_a_reject(labelled: Labelled, value: Any, reason: str) -> None:
    corpus = labelled(1, value, 0)
    assert ids(corpus) == [1, None, 0]
    assert reasons(corpus) == [None, reason, None]


def test_unknown_names_and_numbers_are_rejects_that_list_the_known_ones(labelled: Labelled) -> None:
    corpus = labelled("pos", "odd", labels=("neg", "pos"))
    assert reasons(corpus) == [None, "unknown label 'odd'; known are: neg, pos"]
    corpus = labelled(1, 2, labels=("neg", "pos"))
    assert reasons(corpus) == [None, "label 2 is beyond the 2 classes: neg, pos"]
    corpus = labelled(1, 3, labels=("1", "2"))
    assert reasons(corpus) == [None, "unknown label '3'; known are: 1, 2"]
    many = tuple(f"class{number}" for number in range(30))
    assert str(reasons(labelled("x", "class3", labels=many))[0]).endswith("class19, and 10 more")


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        ([0, 1, "pos"], r"integer \(first in row 0\), string \(first in row 2\)"),
        ([None, True, 1], r"boolean \(first in row 1\), integer \(first in row 2\)"),
        ([[0, 1], "a"], r"list \(first in row 0\), string \(first in row 1\)"),
    ],
)
def test_a_column_of_mixed_kinds_is_an_error(labelled: Labelled, values: list[Any], kinds: str) -> None:
    with pytest.raises(CorpusError, match=f"'label' mixes kinds: {kinds}"):
        labelled(*values)
    with pytest.raises(CorpusError, match="mixes kinds"):
        labelled(*values, labels=("a", "b"))


@pytest.mark.parametrize("values", [[None, None], [-1, -1], [0.5], [""]])
def test_a_column_without_any_label_is_an_error(labelled: Labelled, values: list[Any]) -> None:
    with pytest.raises(CorpusError, match=r"no label that can be used.*--no-labels"):
        labelled(*values)


def test_lists_of_numbers_are_soft_labels(labelled: Labelled) -> None:
    corpus = labelled([0, 1, 1], [0.25, 0.75, 0], [True, False, False])
    assert (corpus.label_names, corpus.multi_label) == (("0", "1", "2"), True)
    assert [row.labels for row in corpus.rows()] == [(0.0, 1.0, 1.0), (0.25, 0.75, 0.0), (1.0, 0.0, 0.0)]
    assert ids(corpus) == [None] * 3
    assert labelled([0, 1], labels=("x", "y")).label_names == ("x", "y")


def test_lists_that_cannot_be_soft_labels_are_rejects(labelled: Labelled) -> None:
    corpus = labelled([0, 1], [0, 1, 1], [0, 27], [0, -0.5], [0, NAN], [0, "a"], [0, None], [1, 0])
    assert reasons(corpus) == [
        None,
        "label has 3 numbers; there are 2 classes",
        "label holds 27, which is no number between 0 and 1",
        "label holds -0.5, which is no number between 0 and 1",
        "label holds nan, which is no number between 0 and 1",
        "label holds 'a', which is no number between 0 and 1",
        "label holds None, which is no number between 0 and 1",
        None,
    ]


@pytest.mark.parametrize("values", [[0, 10_000], [f"id{number}" for number in range(10_001)]])
def test_too_many_classes_look_like_an_id_column(labelled: Labelled, values: list[Any]) -> None:
    with pytest.raises(CorpusError, match=r"more than 10,000 classes.*--label-column"):
        labelled(*values)


def test_ten_thousand_classes_are_allowed(labelled: Labelled) -> None:
    names = labelled(9_999).label_names
    assert names is not None
    assert len(names) == 10_000


def test_without_labels_the_column_is_not_touched(labelled: Labelled) -> None:
    corpus = labelled("a", 3, None, [], no_labels=True)
    assert corpus.label_names is None
    assert reasons(corpus) == [None] * 4
