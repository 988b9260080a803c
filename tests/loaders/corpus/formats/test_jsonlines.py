import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amix.engine.base.errors import CorpusError
from amix.loaders.corpus import Corpus, CorpusOptions, open_corpus

GOOD = b'{"text": "fine", "label": 0}'


def document(corpus: Corpus) -> dict[str, Any]:
    """What the identity of the corpus says about its only file."""
    files = corpus.identity["files"]
    assert isinstance(files, list)
    (file,) = files
    assert isinstance(file, dict)
    return file


def opened(path: Path, data: bytes, **options: Any) -> Corpus:
    path = path / "a.jsonl"
    path.write_bytes(data)
    return open_corpus(str(path), CorpusOptions(**options))


def test_bom_crlf_blank_lines_and_a_last_line_without_its_end(tmp_path: Path) -> None:
    corpus = opened(tmp_path, b"\xef\xbb\xbf" + GOOD + b"\r\n\r\n  \t\n\n" + GOOD + b"\r\n" + GOOD)
    assert [(row.number, row.text, row.label, row.reject) for row in corpus.rows()] == [
        (number, "fine", 0, None) for number in range(3)
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "cut off', "line 2: not valid JSON from column 10 on"),
        (b"{'text': 'python'}", "line 2: not valid JSON from column 2 on"),
        (b'{"text": "a"} {"text": "b"}', "line 2: not valid JSON from column 15 on"),
        (b'{"text": "\xff\xfe", "label": 0}', "line 2: not UTF-8 (0xff at byte 11)"),
        (b'["a", 0]', "line 2: a list in place of a JSON object"),
        (b'"a"', "line 2: a string in place of a JSON object"),
        (b"3", "line 2: a number in place of a JSON object"),
        (b"null", "line 2: null in place of a JSON object"),
        (b"[" * 100_000, "line 2: JSON with a number too long or nested too deep"),
        (
            b'{"text": "a", "label": ' + b"9" * 5000 + b"}",
            "line 2: JSON with a number too long or nested too deep",
        ),
        (b'{"label": 0}', "text is missing"),
        (b'{"text": "a"}', "label is missing"),
    ],
)
def test_a_line_that_cannot_be_read_is_a_reject_and_the_next_ones_are_read(
    tmp_path: Path, line: bytes, reason: str
) -> None:
    rows = list(opened(tmp_path, GOOD + b"\n" + line + b"\n\n" + GOOD + b"\n").rows())
    assert [row.number for row in rows] == [0, 1, 2]
    assert [row.reject for row in rows] == [None, reason, None]


def test_lines_are_counted_with_the_blank_ones(tmp_path: Path) -> None:
    rows = list(opened(tmp_path, GOOD + b"\n\n\n{\n").rows())
    assert rows[1].number == 1
    assert rows[1].reject == "line 4: not valid JSON from column 2 on"


@pytest.mark.parametrize(
    "data",
    [b"just text\nmore text\n", b"{}\n{}\n", b'{"rows": [\n' + GOOD + b"]}\n", b"[1, 2]"],
)
def test_a_file_without_any_object_says_what_json_lines_is(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(CorpusError, match="JSON Lines has one object a line"):
        opened(tmp_path, data)


@pytest.mark.parametrize("before", [50, 200])
def test_a_key_may_come_late(tmp_path: Path, before: int) -> None:
    corpus = opened(tmp_path, b'{"text": "no label yet"}\n' * before + GOOD)
    assert [row.reject for row in corpus.rows()] == ["label is missing"] * before + [None]


def test_a_key_that_never_comes_is_an_error_that_lists_those_of_the_first_hundred_rows(
    tmp_path: Path,
) -> None:
    with pytest.raises(CorpusError, match=r"no column 'label'. It has: text\."):
        opened(tmp_path, b'{"text": "no label"}\n' * 150 + b'{"other": 1}\n')


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "cp1252"])
def test_other_encodings(tmp_path: Path, encoding: str) -> None:
    lines = '{"text": "café \u00a0", "label": 0}\n\n{"text": "two", "label": 1}\n'
    given = None if encoding in ("utf-16", "utf-32") else encoding  # these two begin with a mark
    corpus = opened(tmp_path, lines.encode(encoding), encoding=given)
    assert [row.text for row in corpus.rows()] == ["café \u00a0", "two"]
    file = document(corpus)
    assert file["encoding"] == encoding


def test_bytes_that_the_given_encoding_lacks_spoil_their_own_line(tmp_path: Path) -> None:
    corpus = opened(tmp_path, GOOD + b'\n{"text": "\x81", "label": 0}\n' + GOOD, encoding="windows-1252")
    assert [row.reject for row in corpus.rows()] == [None, "line 2: not windows-1252", None]


# No lone surrogates: JSON may hold them, texts may not.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(texts=st.lists(TEXTS, min_size=1, max_size=5), ascii_only=st.booleans(), crlf=st.booleans())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_every_text_comes_back(tmp_path: Path, texts: list[str], ascii_only: bool, crlf: bool) -> None:
    end = "\r\n" if crlf else "\n"
    lines = [json.dumps({"text": "x" + text}, ensure_ascii=ascii_only) for text in texts]
    corpus = opened(tmp_path, end.join(lines).encode(), no_labels=True)
    assert [row.text for row in corpus.rows()] == ["x" + text for text in texts]


@given(lines=st.lists(st.binary(max_size=20) | st.just(GOOD), max_size=8))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_stands_between_good_lines_they_are_read(tmp_path: Path, lines: list[bytes]) -> None:
    rows = list(opened(tmp_path, b"\n".join([GOOD, *lines, GOOD])).rows())
    assert (rows[0].reject, rows[-1].reject) == (None, None)
    assert sum(row.text == "fine" for row in rows) == 2 + lines.count(GOOD)
    assert [row.number for row in rows] == list(range(len(rows)))
