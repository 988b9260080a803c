"""A first look at a corpus: what is found, what is counted, and what is left when it cannot be read as it is."""

import json
from pathlib import Path

import pytest

from amix.engine.base.errors import CorpusError
from amix.loaders.corpus import glance
from amix.loaders.corpus.glance import Glance, glance_at


def written(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_rows_and_classes_are_counted_and_a_folder_is_its_training_split(tmp_path: Path) -> None:
    rows = "text;label;id\ngood, fine;pos;1\nbad;neg;2\n;neg;3\nfine;pos;4\n"
    expected = Glance(
        columns=("text", "label", "id"),
        text_column="text",
        label_column="label",
        rows=4,
        rejects=1,
        classes={"neg": 1, "pos": 2},
    )
    assert glance_at(written(tmp_path / "hub" / "train.csv", rows)) == expected
    written(tmp_path / "hub" / "test.csv", rows + "more;neg;5\n")
    assert glance_at(str(tmp_path / "hub")) == expected


def test_columns_of_other_names_are_not_taken(tmp_path: Path) -> None:
    found = glance_at(written(tmp_path / "a.csv", "review;stars\ngood;2\nbad;0\n"))
    assert found == Glance(columns=("review", "stars"), text_column=None, label_column=None, rows=2)
    lines = "".join(json.dumps({"text": text}) + "\n" for text in "ab")
    found = glance_at(written(tmp_path / "a.jsonl", lines))
    assert (found.rows, found.rejects, found.label_column, found.classes) == (2, 0, None, None)


def test_texts_with_several_labels_have_classes_without_counts(tmp_path: Path) -> None:
    lines = [{"text": "a", "label": ["x", "y"]}, {"text": "b", "label": ["x"]}]
    found = glance_at(written(tmp_path / "a.jsonl", "".join(json.dumps(line) + "\n" for line in lines)))
    assert (found.rows, found.classes) == (2, {"x": None, "y": None})


def test_what_cannot_be_read_as_it_is_keeps_its_columns_and_says_why(tmp_path: Path) -> None:
    found = glance_at(written(tmp_path / "a.csv", "text,label\na,1.5\nb,2\n"))
    assert (found.columns, found.rows) == (("text", "label"), None)
    assert found.problem is not None and "a regression target" in found.problem
    with pytest.raises(CorpusError, match="the header cannot be read"):
        glance_at(written(tmp_path / "empty.csv", ""))


def test_large_files_are_not_read_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.setattr(glance, "_CHEAP", 10)
    found = glance_at(written(tmp_path / "a.csv", "text;label\ngood;pos\nbad;neg\n"))
    assert found == Glance(columns=("text", "label"), text_column="text", label_column="label")
    pq.write_table(pa.table({"text": ["a", "b", "c"]}), tmp_path / "a.parquet")
    assert glance_at(str(tmp_path / "a.parquet")).rows == 3  # the file says it
