import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amix.engine.base.errors import CorpusError
from amix.loaders.corpus import Corpus, CorpusOptions, open_corpus
from amix.loaders.corpus.formats import jsonarray
from amix.loaders.corpus.formats.jsonarray import array_items

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def opened(path: Path, data: bytes, **options: Any) -> Corpus:
    path = path / "a.json"
    path.write_bytes(data)
    return open_corpus(str(path), CorpusOptions(**options))


@settings(max_examples=50)
@given(
    items=st.lists(VALUES, max_size=5),
    indent=st.sampled_from([None, 1, "\t"]),
    piece=st.integers(1, 40),
    ascii_only=st.booleans(),
)
def test_whatever_the_pieces_the_items_are_those_of_the_array(
    items: list[Any], indent: int | str | None, piece: int, ascii_only: bool
) -> None:
    written = json.dumps(items, indent=indent, ensure_ascii=ascii_only)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonarray, "_PIECE", piece)
        found = list(array_items(io.StringIO(f"\n {written} \n")))
    assert [value for value, _ in found] == items
    assert [json.loads(text) for _, text in found] == items


@settings(max_examples=50)
@given(
    items=st.lists(VALUES, min_size=1, max_size=3),
    cut=st.floats(0, 1, exclude_max=True),
    piece=st.integers(1, 9),
)
def test_an_array_that_is_cut_short_is_an_error(items: list[Any], cut: float, piece: int) -> None:
    written = json.dumps(items)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonarray, "_PIECE", piece)
        with pytest.raises(jsonarray.ArrayError):
            list(array_items(io.StringIO(written[: int(len(written) * cut)])))


def test_an_array_of_objects_is_a_corpus(tmp_path: Path) -> None:
    data = b'\xef\xbb\xbf[\n{"text": "a", "label": 0},\n{"text": "\xff", "label": 1}, 3,\n{"text": "b", "label": 1}]\n'
    corpus = opened(tmp_path, data)
    assert [(row.number, row.text, row.reject) for row in corpus.rows()] == [
        (0, "a", None),
        (1, None, "item 2: not UTF-8"),
        (2, None, "item 3: a number in place of a JSON object"),
        (3, "b", None),
    ]
    assert [row.number for row in corpus.rows(2)] == [2, 3]
    with pytest.raises(CorpusError, match="holds no rows"):
        opened(tmp_path, b" [ ] ", no_labels=True)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'[{"text": "a"},\n {"text" "b"}]\n', r"the JSON is not valid there \(line 2\)"),
        (b'[{"text": "a"},\n {"text": "b"}', r"it ends too early \(line 2\)"),
        (b'[{"text": "a"}]\n{"text": "b"}\n', r"something stands after the end of the array \(line 2\)"),
        (b'[{"text": "a"}\n\n{"text": "b"}]', r"']' is missing \(line 3\)"),
        (b'[{"text": ' + b"9" * 5000 + b"}]", "a number is too long"),
        (b'[{"text": ' + b"[" * 100_000, "nested too deep"),
    ],
)
def test_what_is_no_array_after_all_is_an_error_with_its_line(tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(CorpusError, match=says):
        opened(tmp_path, data, no_labels=True)
