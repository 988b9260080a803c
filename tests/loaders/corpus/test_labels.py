import json
import re
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
        ([5, 1, 3], ("1", "3", "5"), [2, 0, 1]),  # those that occur
        ([2021, 2020], ("2020", "2021"), [1, 0]),
        ([10, 9, 2.0], ("2", "9", "10"), [2, 1, 0]),
        ([1.0, 0.0, 2], ("0", "1", "2"), [1, 0, 2]),
        ([True, False], ("false", "true"), [1, 0]),
        ([True], ("false", "true"), [1]),
        (["pos", "neg", "pos"], ("neg", "pos"), [1, 0, 1]),
        (["10", "9"], ("10", "9"), [0, 1]),  # strings in JSON are meant as strings
        (["pos ", "\tpos", "neg"], ("neg", "pos"), [1, 1, 0]),
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
        (("a", "b", "c"), [" b "], [1]),
        (("b ", "b"), ["b ", "b"], [0, 1]),
        (("-1", "0", "1"), [-1, 1], [0, 2]),
        (("1", "2", "none"), [2, 1], [1, 0]),
        (("a", "b"), [0, 1, -1], [0, 1, None]),
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
    corpus = labelled(1, 2, 0, -3, 0.5, labels=("neg", "pos"))
    assert reasons(corpus) == [
        None,
        "label 2 is beyond the 2 classes: neg, pos",
        None,
        "label -3 is negative",
        "label 0.5 is neither a whole number nor a name",
    ]
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


@pytest.mark.parametrize("values", [[None, None], [-1, -1], [""], [[], []]])
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


def test_lists_of_names_or_ids_are_the_classes_that_a_text_has(labelled: Labelled) -> None:
    corpus = labelled(["b", " a"], [], ["a"])
    assert (corpus.label_names, corpus.multi_label) == (("a", "b"), True)
    assert [row.labels for row in corpus.rows()] == [(1.0, 1.0), (0.0, 0.0), (1.0, 0.0)]
    for values in ([[0], [], [0, 7]], [[7], [0], []], [[0, 7], [7, 0], []], [[0], [7]]):
        corpus = labelled(*values)
        assert (corpus.label_names, corpus.multi_label) == (("0", "7"), True)
        assert [row.labels for row in corpus.rows()] == [
            (float(0 in value), float(7 in value)) for value in values
        ]
    corpus = labelled([1], [0], [1], labels=("x", "y"))  # as weights they would be one number for two classes
    assert [row.labels for row in corpus.rows()] == [(0.0, 1.0), (1.0, 0.0), (0.0, 1.0)]
    corpus = labelled([], [], labels=("x", "y"))
    assert [row.labels for row in corpus.rows()] == [(0.0, 0.0)] * 2


def test_lists_that_hold_other_classes_are_rejects(labelled: Labelled) -> None:
    assert reasons(labelled(["a"], ["c", "b"], labels=("a", "b")))[1] == "unknown label 'c'; known are: a, b"
    assert reasons(labelled([0, 2], [1, -1, 2]))[1] == "label has 3 numbers; there are 2 classes"
    with pytest.raises(CorpusError, match=r"mixes kinds: list \(first in row 1\), list of names"):
        labelled(["a"], [0, 1])


@pytest.mark.parametrize("values", [[0.5], [1, 0, 0.5], [None, 3.25, 4]])
def test_numbers_with_fractions_are_a_regression_target(labelled: Labelled, values: list[Any]) -> None:
    with pytest.raises(CorpusError, match=r"such as .* in row \d: a regression target.*--label-column"):
        labelled(*values)


@pytest.mark.parametrize(
    ("values", "names", "message"),
    [
        ([-1, 0, 1, -1], ("0", "1"), "-1 in 2 of 4 rows. It counts as no label.*--labels=-1,0,1"),
        ([-1, 1, -1], ("-1", "1"), "does not count from 0.*: -1, 1"),
        ([-2, -1, 0, 1], ("-2", "-1", "0", "1"), "does not count from 0.*: -2, -1, 0, 1"),
        ([1, 2, 3], ("1", "2", "3"), "does not count from 0.*: 1, 2, 3"),
        (["Pos", "pos", "neg"], ("Pos", "neg", "pos"), r"'Pos' \(1 rows\) and 'pos' \(1 rows\).*--labels"),
        (["a  b", "a b", "c"], ("a  b", "a b", "c"), "differ only in white space"),
        (["\u00e9", "e\u0301"], ("e\u0301", "\u00e9"), "Unicode form"),
        ([["x"], ["X", "y"]], ("X", "x", "y"), "differ only in"),
        ([[0], [0, 1]], ("0", "1"), "the numbers of a text's classes, which are 0, 1"),
        ([0, 1, 2], ("0", "1", "2"), None),
        (["a", "b"], ("a", "b"), None),
    ],
)
def test_labels_that_could_be_meant_otherwise_are_named(
    labelled: Labelled,
    caplog: pytest.LogCaptureFixture,
    values: list[Any],
    names: tuple[str, ...],
    message: str | None,
) -> None:
    assert labelled(*values).label_names == names
    assert [bool(message and re.search(message, each)) for each in caplog.messages] == [True] * bool(message)
    caplog.clear()
    labelled(*values, labels=names)
    assert not caplog.messages  # they have been decided


@pytest.mark.parametrize(
    ("given", "values"),
    [
        (("a", "b", "c"), [1, 2, 3]),
        (("a", "b", "c"), [1, 3]),
        (("a", "b", "c"), [0, 2, 5]),
        (("a", "b", "c"), [-1, 0, 1]),
        (("a", "b"), [2020, 2021, 2022]),
    ],
)
def test_numbers_that_do_not_count_the_given_names_are_refused(
    labelled: Labelled, given: tuple[str, ...], values: list[int]
) -> None:
    with pytest.raises(CorpusError, match=r"but the given names \(a, b.*are for 0 to"):
        labelled(*values, labels=given)


@pytest.mark.parametrize(
    "make", [str, int, lambda number: [f"x{number}"]], ids=["names", "integers", "lists"]
)
@pytest.mark.parametrize(("rows", "classes", "refused"), [(10, 10, 0), (12, 11, 1), (60, 12, 0), (59, 12, 1)])
def test_more_classes_than_a_fifth_of_the_rows_must_be_meant(
    labelled: Labelled, make: Callable[[int], Any], rows: int, classes: int, refused: int
) -> None:
    values = [make(number % classes) for number in range(rows)]
    if refused:
        with pytest.raises(
            CorpusError, match=rf"{classes} classes in {rows} rows \(.*more\).*--many-classes"
        ):
            labelled(*values)
    names = labelled(*values, many_classes=True).label_names
    assert names is not None
    assert len(names) == classes
    assert labelled(*values, labels=names).label_names == names


def test_ten_thousand_classes_are_the_most_whatever_the_number_of_rows(labelled: Labelled) -> None:
    values = [f"id{number}" for number in range(10_001)]
    with pytest.raises(CorpusError, match=r"more than 10,000 classes.*--label-column.*--many-classes"):
        labelled(*values)
    assert len(labelled(*values, many_classes=True).label_names or ()) == 10_001


def test_long_names_are_cut_in_messages(labelled: Labelled) -> None:
    with pytest.raises(CorpusError) as caught:
        labelled(*(f"{number} {'long ' * 1000}" for number in range(20)))
    assert len(str(caught.value)) < 800


def test_without_labels_the_column_is_not_touched(labelled: Labelled) -> None:
    corpus = labelled("a", 3, None, [], no_labels=True)
    assert corpus.label_names is None
    assert reasons(corpus) == [None] * 4


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        ("nan", "has the class nan (1 row). If that means that a label is missing, leave it empty"),
        ("['a', 'b']", "holds lists written as text, such as ['a', 'b']"),
    ],
)
def test_names_that_stand_for_something_else_are_told(
    labelled: Labelled, caplog: pytest.LogCaptureFixture, odd: str, told: str
) -> None:
    assert odd in (labelled("a", "b", odd).label_names or ())
    assert told in caplog.text
    caplog.clear()
    labelled("a", "b", odd, labels=("a", "b", odd))
    assert not caplog.messages
