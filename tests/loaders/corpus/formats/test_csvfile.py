import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amix.engine.base.errors import CorpusError
from amix.loaders.corpus import Corpus, CorpusOptions, open_corpus


def opened(path: Path, data: bytes, **options: Any) -> Corpus:
    path = path / "a.csv"
    path.write_bytes(data)
    return open_corpus(str(path), CorpusOptions(**options))


def rejects(corpus: Corpus) -> list[str | None]:
    return [row.reject for row in corpus.rows()]


def test_line_breaks_quotes_and_commas_inside_fields(tmp_path: Path) -> None:
    corpus = opened(tmp_path, b'label,text\r\n0,"two\nlines, ""quoted"""\r\n1,"three\r\nmore\r\nlines"\r\n')
    assert [(row.text, row.label) for row in corpus.rows()] == [
        ('two\nlines, "quoted"', 0),
        ("three\r\nmore\r\nlines", 1),
    ]


def test_bom_and_blank_lines(tmp_path: Path) -> None:
    corpus = opened(tmp_path, b"\xef\xbb\xbftext,label\n\na,0\n\n\nb,1\n\n")
    assert [(row.number, row.text) for row in corpus.rows()] == [(0, "a"), (1, "b")]


def test_a_bom_before_a_quoted_header(tmp_path: Path) -> None:
    assert next(opened(tmp_path, b'\xef\xbb\xbf"text","label"\na,0\n').rows()).text == "a"


def test_bad_records_are_rejects_and_the_next_ones_are_read(tmp_path: Path) -> None:
    data = (
        b'text,label\nfine,0\ntoo,many,1\n"two\nlines"\nbad \xff byte,1\n'
        b'"a "stray" quote",1\n,1\nfine,\nfine,1\n'
    )
    assert rejects(opened(tmp_path, data)) == [
        None,
        "line 3: 3 fields, the header has 2",
        "line 4: 1 fields, the header has 2",
        "line 6: not UTF-8",
        "line 7: a stray quote (write it twice inside a field)",
        "text is empty",
        "label is empty",
        None,
    ]


def test_a_quote_that_is_never_closed_is_an_error_not_one_lost_row(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"a\.csv: the quote that opens in line 3 or after is not closed"):
        opened(tmp_path, b'text,label\na,0\n"b,1\n' + b"c,1\n" * 100)


def test_a_field_longer_than_pythons_own_limit(tmp_path: Path) -> None:
    text = "word " * 100_000
    assert next(opened(tmp_path, f"text,label\n{text},0\n".encode()).rows()).text == text


def test_a_header_is_needed_and_names_every_column_once(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"has no column 'text'. It has: a fine film, 1"):
        opened(tmp_path, b"a fine film,1\na dull film,0\n")
    with pytest.raises(CorpusError, match="names 'text' twice"):
        opened(tmp_path, b"text,label,text\na,0,b\n")
    with pytest.raises(CorpusError, match="header cannot be read"):
        opened(tmp_path, b"text,\xff\na,0\n")
    with pytest.raises(CorpusError, match="header cannot be read"):
        opened(tmp_path, b"\n\n")


@pytest.mark.parametrize(
    ("values", "names", "ids"),
    [
        (["0", "1", "3"], ("0", "1", "3"), [0, 1, 2]),
        (["0", " 1", "2.0"], ("0", "1", "2"), [0, 1, 2]),  # pandas writes 2.0 beside a missing value
        (["10", "9", "2"], ("2", "9", "10"), [2, 1, 0]),
        (["pos", "neg", "pos"], ("neg", "pos"), [1, 0, 1]),
        (["True", "False", "true"], ("false", "true"), [1, 0, 1]),
        (["1", "one", "2"], ("1", "2", "one"), [0, 2, 1]),
        (["0.5", "one", "0"], ("0", "0.5", "one"), [1, 2, 0]),
        (["pos ", " neg", "pos"], ("neg", "pos"), [1, 0, 1]),
    ],
)
def test_the_whole_column_tells_what_its_strings_write(
    tmp_path: Path, values: list[str], names: tuple[str, ...], ids: list[int]
) -> None:
    corpus = opened(tmp_path, ("text,label\n" + "".join(f"a,{value}\n" for value in values)).encode())
    assert corpus.label_names == names
    assert [row.label for row in corpus.rows()] == ids


def test_fractions_are_no_classes_unless_they_are_named(tmp_path: Path) -> None:
    content = b"text,label\na,1\na,\na,0.5\na,1e-3\n"
    with pytest.raises(CorpusError, match=r"such as 0\.5 in row 2: a regression target"):
        opened(tmp_path, content)
    corpus = opened(tmp_path, content, labels=("0.5", "1"))
    assert [row.label for row in corpus.rows()] == [1, None, 0, None]


@pytest.mark.parametrize("names", [("1", "2", "none"), ("01", "02"), ("2", "1")])
def test_numbers_that_are_names_are_matched_as_they_are_written(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    corpus = opened(tmp_path, f"text,label\na,{names[0]}\na,{names[1]}\n".encode(), labels=names)
    assert [row.label for row in corpus.rows()] == [0, 1]


def test_integers_under_given_names_are_indices_and_no_label_is_a_reject(tmp_path: Path) -> None:
    corpus = opened(tmp_path, b"text,label\na,0\na,1\na,-1\na,2\na,\n", labels=("neg", "pos"))
    assert [row.label for row in corpus.rows()] == [0, 1, None, None, None]
    assert rejects(corpus)[2:] == [
        "no label (-1)",
        "label 2 is beyond the 2 classes: neg, pos",
        "label is empty",
    ]


FIELDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(texts=st.lists(FIELDS, min_size=1, max_size=6), dialect=st.sampled_from(["excel", "unix"]))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_the_csv_module_writes_comes_back(tmp_path: Path, texts: list[str], dialect: str) -> None:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, dialect)
    writer.writerow(["id", "text"])
    writer.writerows([[str(number), "x" + text] for number, text in enumerate(texts)])
    corpus = opened(tmp_path, stream.getvalue().encode(), no_labels=True)
    assert [row.text for row in corpus.rows()] == ["x" + text for text in texts]
