import csv
import gzip
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amix.engine.base.errors import CorpusError
from amix.loaders.corpus import Corpus, CorpusOptions, open_corpus


def document(corpus: Corpus) -> dict[str, Any]:
    """What the identity of the corpus says about its only file."""
    files = corpus.identity["files"]
    assert isinstance(files, list)
    (file,) = files
    assert isinstance(file, dict)
    return file


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
    with pytest.raises(
        CorpusError, match=r"no column 'text'. It has: a fine film, 1.*no header: put one .*'text,label'"
    ):
        opened(tmp_path, b"a fine film,1\na dull film,0\n")
    with pytest.raises(CorpusError, match=r"no column 'label'. It has: text, stars.*--no-labels'\.$"):
        opened(tmp_path, b"text,stars\na,0\n")
    with pytest.raises(CorpusError, match="names 'text' twice"):
        opened(tmp_path, b"text,label,text\na,0,b\n")
    with pytest.raises(CorpusError, match=r"header cannot be read.*--encoding windows-1252"):
        opened(tmp_path, b"text,r\xe9sum\xe9\na,0\n")
    with pytest.raises(CorpusError, match="header cannot be read"):
        opened(tmp_path, b"\n\n")


def test_columns_that_are_not_asked_for_may_have_one_name(tmp_path: Path) -> None:
    assert next(opened(tmp_path, b",text,label,,\n1,a,0,,\n").rows()).text == "a"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_are_recognised(tmp_path: Path, delimiter: str) -> None:
    table = [["id", "text", "label"], ["1", "a, b; c | d \t e", "0"], ["2", 'say "x"', "1"]]
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=delimiter).writerows(table)
    corpus = opened(tmp_path, stream.getvalue().encode())
    assert [(row.text, row.label) for row in corpus.rows()] == [(table[1][1], 0), (table[2][1], 1)]
    file = document(corpus)
    assert file.get("delimiter") == (None if delimiter == "," else delimiter)  # commas are not mentioned
    with pytest.raises(CorpusError, match=r"no column 'body'. It has: id, text, label"):
        opened(tmp_path, stream.getvalue().encode(), text_column="body")


def test_what_is_asked_for_decides_between_delimiters(tmp_path: Path) -> None:
    corpus = opened(tmp_path, b"text,a;b;c;d\nfine,1\n", no_labels=True)
    assert next(corpus.rows()).text == "fine"
    corpus = opened(tmp_path, b"text\nfine; really, fine\n", no_labels=True)
    assert [row.reject or row.text for row in corpus.rows()] == ["line 2: 2 fields, the header has 1"]


def test_quotes_between_tabs_are_text_where_nothing_else_makes_sense(tmp_path: Path) -> None:
    plain = b'text\tlabel\n"Great" she said\t0\n" open\t1\nclosed "\t0\n\n"whole"\t1\n'
    corpus = opened(tmp_path, plain)
    assert [row.text for row in corpus.rows()] == ['"Great" she said', '" open', 'closed "', '"whole"']
    quoted = b'text\tlabel\n"two\nlines"\t0\n"say ""x"""\t1\n'
    assert [row.text for row in opened(tmp_path, quoted).rows()] == ["two\nlines", 'say "x"']
    last = b'label\ttext\n0\t"two\nlines"\n1\tone\n'
    assert [row.text for row in opened(tmp_path, last).rows()] == ["two\nlines", "one"]


@pytest.mark.parametrize("compression", ["", ".gz"])
def test_tsv_prefers_tabs(tmp_path: Path, compression: str) -> None:
    data = b"text\tlabel, or not\na, b\t0\n"
    path = tmp_path / f"a.tsv{compression}"
    path.write_bytes(gzip.compress(data) if compression else data)
    with pytest.raises(CorpusError, match=r"no column 'review'. It has: text, label, or not\."):
        open_corpus(str(path), CorpusOptions(text_column="review"))
    assert next(open_corpus(str(path), CorpusOptions(no_labels=True)).rows()).text == "a, b"


BROKEN = {
    # the lines of a record that is none, and the lines of it by its reason
    b'"he said \\"hi\\" and\nleft the room",1\n': "lines 2 to 3: a quote after a backslash",
    b'"he said \\"hi\\", and\nleft the room",1\n': "lines 2 to 3: a quote after a backslash",
    b'"he said \\"",1\n': "line 2: a quote after a backslash",
    b'"he said "hi" and\nleft the room",1\n': "lines 2 to 3: a stray quote",
    b'"he said "hi" and\nwent, home\nat six",1\n': "lines 2 to 4: a stray quote",
    b'"a "stray" quote",1\n': "line 2: a stray quote",
    b'"a "stray quote",1\n': "line 2: a stray quote",
    b'"a stray" quote,1\n': "line 2: a stray quote",
    b'"a "stray" quote" again" and more,1\n': "line 2: a stray quote",  # no quote closes it
    b"text,label\n": "line 2: the header once more",
    b"\xef\xbb\xbftext,label\n": "line 2: the header once more",
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_record_is_one_reject_and_spoils_no_other(tmp_path: Path, broken: bytes) -> None:
    corpus = opened(tmp_path, b"text,label\n" + broken + b'fine,0\n"also, fine",1\n')
    bad, *good = corpus.rows()
    assert (bad.reject or "").startswith(BROKEN[broken])
    assert [(row.number, row.text, row.label) for row in good] == [(1, "fine", 0), (2, "also, fine", 1)]
    assert corpus.label_names == ("0", "1")


def test_the_rest_of_a_broken_record_is_not_looked_for_without_end(tmp_path: Path) -> None:
    stray = b'"a "stray" quote" again" and more,1\n'
    rows = list(opened(tmp_path, b"text,label\n" + stray + b"fine,0\n" * 2000 + b'"quoted",1\n').rows())
    assert sum(row.reject is None for row in rows) == 2001


def test_utf16(tmp_path: Path) -> None:
    text = 'text,label\n"café,\nplace",0\n'
    assert next(opened(tmp_path, text.encode("utf-16")).rows()).text == "café,\nplace"
    for order in ("utf-16-le", "utf-16-be"):
        with pytest.raises(CorpusError, match=f"UTF-16 without a byte order mark.*--encoding {order}"):
            opened(tmp_path, text.encode(order))
        assert next(opened(tmp_path, text.encode(order), encoding=order).rows()).label == 0
        cut = opened(tmp_path, text.encode(order) + b"x", encoding=order)
        assert [row.reject for row in cut.rows()] == [None, f"line 4: not {order.upper()}"]


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


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (b"Text,label\na,0\n", r"no column 'text', but 'Text'\. Give --text-column Text\.$"),
        (b"text, label\na,0\n", r"no column 'label', but ' label'\. Give --label-column ' label'\.$"),
        (b"review , label\na,0\n", r"It has: 'review ', ' label'\."),
        (b"sep=;\ntext;label\na;0\n", r"The first line is a note on the separator, .* Remove it\.$"),
    ],
)
def test_a_header_that_is_nearly_right_is_told_from_a_wrong_one(
    tmp_path: Path, header: bytes, told: str
) -> None:
    with pytest.raises(CorpusError, match=told):
        opened(tmp_path, header)


def test_rows_of_which_none_can_be_read_are_not_taken_for_a_wrong_label_column(tmp_path: Path) -> None:
    rows = "".join(f"un café délicieux {number},a\n" for number in range(9))
    with pytest.raises(CorpusError, match=r"none of its rows can be read.*UTF-8.*--encoding windows-1252"):
        opened(tmp_path, b"text,label\n" + rows.encode("cp1252"))
    with pytest.raises(CorpusError, match=r"none of its rows can be read.*3 fields, the header has 2"):
        opened(tmp_path, b"text,label\na,b,0\n")
    with pytest.raises(CorpusError, match="holds no rows"):
        opened(tmp_path, b"text,label\n")
