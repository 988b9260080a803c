import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from amix.engine.base.errors import CorpusError
from amix.loaders.corpus import Corpus, CorpusOptions, open_corpus


def opened(path: Path | str, **options: Any) -> Corpus:
    return open_corpus(str(path), CorpusOptions(**options))


def write(path: Path, columns: dict[str, Any], *, features: Any = None, **options: Any) -> Path:
    table = pa.table(columns)
    if features is not None:
        noted = json.dumps({"info": {"features": features}}).encode()
        table = table.replace_schema_metadata({b"huggingface": noted})
    with path.open("wb") as file:
        pq.write_table(table, file, **options)
    return path


def class_label(*names: str) -> dict[str, Any]:
    return {"names": list(names), "_type": "ClassLabel"}


def test_row_groups_are_skipped_without_reading_them(tmp_path: Path) -> None:
    count = 3500
    columns = {"text": [f"row {row}" for row in range(count)], "label": [row % 2 for row in range(count)]}
    path = write(tmp_path / "a.parquet", columns, row_group_size=1200, compression="none")
    corpus = opened(path)
    for start in (0, 1, 1199, 1200, 2399, 2400, 3499, 3500, 9999):
        assert [row.number for row in corpus.rows(start)] == list(range(start, count))
    first = next(corpus.rows(2500))
    assert (first.number, first.text, first.label) == (2500, "row 2500", 0)
    data = bytearray(path.read_bytes())
    data[4:400] = bytes(396)  # into the first row group
    path.write_bytes(data)
    with pytest.raises(CorpusError, match="damaged"):
        list(corpus.rows())
    assert next(corpus.rows(2500)) == first


def test_several_files_go_on_counting(tmp_path: Path) -> None:
    for name, first in (("a", 0), ("b", 5), ("c", 8)):
        rows = range(first, {0: 5, 5: 8, 8: 8}[first])
        columns = {
            "text": pa.array([f"row {row}" for row in rows], pa.string()),
            "label": pa.array([0] * len(rows), pa.int64()),
        }
        write(tmp_path / f"{name}.parquet", columns)
    corpus = opened(tmp_path / "*.parquet")
    assert corpus.row_count == opened(tmp_path / "*.parquet", no_labels=True).row_count == 8
    for start in range(9):
        found = list(corpus.rows(start))
        assert [(row.number, row.text) for row in found] == [(row, f"row {row}") for row in range(start, 8)]


@pytest.mark.parametrize("keep", [0.3, 0.99])
def test_a_truncated_file_is_an_error(tmp_path: Path, keep: float) -> None:
    path = write(tmp_path / "a.parquet", {"text": ["a"] * 100, "label": [0] * 100})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(CorpusError, match=r"a\.parquet.*damaged or was cut short.*Fetch it again"):
        opened(path)


def test_columns_are_listed_when_one_is_wrong(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"sentence": ["a"], "label": [0], "idx": [0]})
    with pytest.raises(CorpusError, match=r"no column 'text'. It has: sentence, label, idx.*--text-column"):
        opened(path)
    assert next(opened(path, text_column="sentence").rows()).text == "a"


def test_twin_columns_matter_only_where_they_are_asked_for(tmp_path: Path) -> None:
    table = pa.table([["a"], [1], [2], [0]], names=["text", "id", "id", "label"])
    pq.write_table(table, tmp_path / "a.parquet")
    assert next(opened(tmp_path / "a.parquet").rows()).text == "a"
    with pytest.raises(CorpusError, match="names 'id' twice"):
        opened(tmp_path / "a.parquet", text_column="id")


def test_a_path_that_is_not_utf8(tmp_path: Path) -> None:
    path = write(tmp_path / os.fsdecode(b"\xe9t\xe9.parquet"), {"text": ["a"], "label": [0]})
    assert next(opened(path).rows()).text == "a"


@pytest.mark.parametrize(
    ("values", "type_"), [([["a", "b"]], "list<"), ([{"en": "a"}], "struct<en: string>"), ([b"a"], "binary")]
)
def test_a_text_column_that_is_nested_or_bytes_is_named_with_its_type(
    tmp_path: Path, values: list[Any], type_: str
) -> None:
    path = write(tmp_path / "a.parquet", {"text": values, "label": [0]})
    with pytest.raises(CorpusError, match=rf"column 'text' holds {type_}.*--text-column"):
        opened(path)


def test_text_columns_of_nulls_and_numbers_are_rejects(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"text": pa.nulls(2), "label": [0, 1]})
    assert [row.reject for row in opened(path).rows()] == ["text is missing"] * 2
    path = write(tmp_path / "b.parquet", {"text": [1.5, None], "label": [0, 1]})
    assert [row.reject for row in opened(path).rows()] == [
        "text is a number, not a string",
        "text is missing",
    ]


def test_a_string_that_is_not_utf8_is_a_reject(tmp_path: Path) -> None:
    offsets = pa.py_buffer(b"".join(number.to_bytes(4, "little") for number in (0, 1, 3, 4)))
    texts = pa.StringArray.from_buffers(3, offsets, pa.py_buffer(b"a\xff\xfeb"))
    path = write(tmp_path / "a.parquet", {"text": texts, "label": [0, 1, 1]})
    assert [(row.text, row.reject) for row in opened(path).rows()] == [
        ("a", None),
        (None, "row 1: not UTF-8"),
        ("b", None),
    ]


@pytest.mark.parametrize("type_", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_every_kind_of_string_column(tmp_path: Path, type_: pa.DataType) -> None:
    columns = {"text": pa.array(["a", "b"], type_), "label": pa.array(["neg", "pos"], type_)}
    corpus = opened(write(tmp_path / "a.parquet", columns))
    assert [(row.text, row.label) for row in corpus.rows()] == [("a", 0), ("b", 1)]


def test_class_label_names_come_from_the_schema(tmp_path: Path) -> None:
    columns = {"text": ["a", "b", "c", "d", "e"], "label": [2, 0, -1, 3, None]}
    path = write(tmp_path / "a.parquet", columns, features={"label": class_label("world", "sport", "tech")})
    corpus = opened(path)
    assert corpus.label_names == ("world", "sport", "tech")
    assert [row.label for row in corpus.rows()] == [2, 0, None, None, None]
    assert [row.reject for row in corpus.rows()][2:] == [
        "no label (-1)",
        "label 3 is beyond the 3 classes: world, sport, tech",
        "label is missing",
    ]


def test_given_names_match_class_labels_by_name(tmp_path: Path) -> None:
    columns = {"text": ["a", "b", "c"], "label": [0, 1, 2]}
    path = write(tmp_path / "a.parquet", columns, features={"label": class_label("pos", "neg", "mixed")})
    corpus = opened(path, labels=("neg", "pos"))
    assert corpus.label_names == ("neg", "pos")
    assert [row.label for row in corpus.rows()] == [1, 0, None]
    assert [row.reject for row in corpus.rows()][2] == "unknown label 'mixed'; known are: neg, pos"
    with pytest.raises(CorpusError, match="whose classes are pos, neg, mixed"):
        opened(path, labels=("yes", "no"))


def test_a_list_of_class_labels_is_multi_label(tmp_path: Path) -> None:
    columns = {"text": ["a", "b", "c"], "label": [[0, 2], [1], [7]]}
    for feature in ({"feature": class_label("x", "y", "z"), "_type": "List"}, [class_label("x", "y", "z")]):
        path = write(tmp_path / "a.parquet", columns, features={"label": feature})
        corpus = opened(path)
        assert (corpus.label_names, corpus.multi_label) == (("x", "y", "z"), True)
        assert [row.labels for row in corpus.rows()] == [(1.0, 0.0, 1.0), (0.0, 1.0, 0.0), None]


def test_files_that_name_their_classes_differently_are_an_error(tmp_path: Path) -> None:
    for name, names in (("a", ("neg", "pos")), ("b", ("pos", "neg"))):
        features = {"label": class_label(*names)}
        write(tmp_path / f"{name}.parquet", {"text": ["x"], "label": [0]}, features=features)
    with pytest.raises(CorpusError, match="differently: neg, pos and pos, neg"):
        opened(tmp_path / "*.parquet")


def test_metadata_of_another_shape_is_no_names(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"text": ["x"], "label": [0]}, features=["odd"])
    assert opened(path).label_names == ("0",)


@pytest.mark.parametrize(
    ("values", "names", "ids"),
    [
        ([True, False], ("false", "true"), [1, 0]),
        ([2.0, 0.0], ("0", "2"), [1, 0]),
        (["b", "a"], ("a", "b"), [1, 0]),
    ],
)
def test_arrow_types_of_labels(
    tmp_path: Path, values: list[Any], names: tuple[str, ...], ids: list[int]
) -> None:
    corpus = opened(write(tmp_path / "a.parquet", {"text": ["x", "y"], "label": values}))
    assert corpus.label_names == names
    assert [row.label for row in corpus.rows()] == ids


def test_what_datasets_writes_is_read_with_its_names(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features).to_parquet(
        tmp_path / "train.parquet"
    )
    corpus = opened(tmp_path)
    assert corpus.label_names == ("neg", "pos")
    assert [(row.text, row.label) for row in corpus.rows()] == [("a", 1), ("b", 0)]
