"""One split of a folder; `datasets` is the yardstick."""

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from amix.engine.base.errors import CorpusError
from amix.loaders.corpus import Corpus, CorpusOptions, open_corpus
from amix.loaders.corpus.find import find_files

CARD = """---
configs:
- config_name: {name}
  {says}
---
# A card
"""
LAYOUTS = {
    "files beside data": ["labels.json", "data/train-00000-of-00001.jsonl"],
    "plain names": ["train.jsonl", "test.jsonl"],
    "in data": ["data/train.jsonl", "data/test.jsonl"],
    "numbered": ["train_0.jsonl", "train_1.jsonl", "test_0.jsonl"],
    "pieces": ["train-00000-of-00002.jsonl", "train-00001-of-00002-a1b2.jsonl", "test-00000-of-00001.jsonl"],
    "splits of any name": ["data/odd-00000-of-00001.jsonl", "data/train-00000-of-00001.jsonl"],
    "folders": ["train/a.jsonl", "train/b.jsonl", "test/a.jsonl"],
    "folders in data": ["data/train/a.jsonl", "data/test/b.jsonl", "data/validation/c.jsonl"],
    "deep folders": ["x/y/train/z.jsonl", "x/y/test/z.jsonl"],
    "other words": ["train.jsonl", "dev.jsonl", "my_test.jsonl", "sub/eval.jsonl"],
    "no words": ["a.jsonl", "b.jsonl", "sub/c.jsonl"],
    "near copies": ["train.jsonl", "train.old.jsonl", "train.jsonl.gz"],
    "spaces and brackets": ["my train [1].jsonl", "my train (2).jsonl", "test [1].jsonl"],
    "hidden": ["train.jsonl", ".train.jsonl", "._train.jsonl", ".c/train.jsonl", "__c__/train.jsonl"],
    "litter": ["train.jsonl", ".DS_Store", "Thumbs.db", "data/.DS_Store"],
    "in two folders": ["a/train.jsonl", "b/train.jsonl"],
    "in and beside data": ["train.jsonl", "data/train-00000-of-00001.jsonl"],
    "words in words": ["x-train-small.jsonl", "training_data.jsonl", "trainer.jsonl"],
    "twice the word": ["train-train.jsonl", "train/train/x.jsonl"],
    "most of one format": ["train-1.csv", "train-2.csv", "train-notes.json"],
    "names of documents": ["config.json", "dataset_info.json", "train.json"],
}


def opened(path: Path, **options: Any) -> Corpus:
    return open_corpus(str(path), CorpusOptions(**options))


def texts(corpus: Corpus) -> list[str | None]:
    return [row.text for row in corpus.rows()]


def lay_out(folder: Path, names: list[str]) -> Path:
    """Write files whose rows say where they are."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".csv"):
            path.write_text(f"text,label\n{name},0\n")
        elif path.name in ("labels.json", "train-notes.json", "config.json", "dataset_info.json"):
            path.write_text('{"0": "neg"}\n')
        else:
            line = json.dumps({"text": name, "label": 0}).encode() + b"\n"
            path.write_bytes(gzip.compress(line) if name.endswith(".gz") else line)
    return folder


def theirs(folder: Path, cache: Path, name: str | None = None) -> dict[str, list[str]]:
    """The files of each split, as `datasets` finds them."""
    builder = datasets.load_dataset_builder(str(folder), name, cache_dir=str(cache))
    found = builder.config.data_files
    assert found is not None
    return {
        str(split): [str(Path(path).relative_to(folder)) for path in files] for split, files in found.items()
    }


def ours(folder: Path, splits: Iterator[str] | list[str], config: str | None = None) -> dict[str, list[str]]:
    return {split: [file.name for file in find_files(str(folder), split, config)] for split in splits}


@pytest.fixture(autouse=True)
def _without_bars() -> Iterator[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folders_are_read_as_datasets_reads_them(tmp_path: Path, layout: str) -> None:
    folder = lay_out(tmp_path / "corpus", LAYOUTS[layout])
    found = theirs(folder, tmp_path / "cache")
    assert found
    assert ours(folder, list(found)) == found


@pytest.mark.parametrize("layout", ["folders", "near copies", "files beside data"])
def test_the_rows_are_those_of_load_dataset(tmp_path: Path, layout: str) -> None:
    folder = lay_out(tmp_path / "corpus", LAYOUTS[layout])
    found = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    for split, rows in found.items():
        assert texts(opened(folder, split=str(split))) == list(rows["text"])


@pytest.mark.parametrize(
    "says",
    [
        "data_files: b*.jsonl",
        "data_files: 'sub [[]1]/*.jsonl'",
        "data_files:\n  - split: train\n    path: [b1.jsonl, a.jsonl]\n  - split: test\n    path: 'b[2-9].jsonl'",
        "data_dir: sub",
        "default: true",
    ],
)
def test_a_card_says_which_files_are_which_split(tmp_path: Path, says: str) -> None:
    names = ["a.jsonl", "b1.jsonl", "b2.jsonl", "sub/train.jsonl", "sub/test.jsonl", "sub [1]/c.jsonl"]
    folder = lay_out(tmp_path / "corpus", names)
    (folder / "README.md").write_text(CARD.format(name="default", says=says))
    found = theirs(folder, tmp_path / "cache")
    assert ours(folder, list(found)) == found
    assert ours(folder, list(found), "default") == found


def test_configurations_are_those_of_the_card_or_subfolders(tmp_path: Path) -> None:
    folder = lay_out(tmp_path, ["plain/train.jsonl", "fancy/train.jsonl"])
    assert ours(folder, ["train"], "fancy") == {"train": ["train.jsonl"]}
    with pytest.raises(CorpusError, match="--config names a subfolder"):
        opened(folder, config="other")
    card = CARD.format(name="one", says="data_dir: plain\n- config_name: two\n  data_dir: fancy")
    (folder / "README.md").write_text(card)
    assert ours(folder, ["train"], "two") == {"train": ["fancy/train.jsonl"]}
    with pytest.raises(CorpusError, match=r"several data sets. Pick with --config: one, two"):
        opened(folder)
    with pytest.raises(CorpusError, match=r"one of its card \(one, two\)"):
        opened(folder, config="three")


@pytest.mark.parametrize(
    ("card", "says"),
    [
        ("---\n[: {\n---\n", "YAML on top"),
        (CARD.format(name="x", says="data_files: /etc/passwd"), "outside its folder"),
        (CARD.format(name="x", says="data_files: ../*.jsonl"), "outside its folder"),
        (CARD.format(name="x", says="data_files: hf://datasets/a/b.jsonl"), "outside its folder"),
        (CARD.format(name="x", says="data_files: gone.jsonl"), "holds no data files"),
    ],
)
def test_a_card_that_cannot_be_followed_is_an_error(tmp_path: Path, card: str, says: str) -> None:
    folder = lay_out(tmp_path / "corpus", ["train.jsonl"])
    (folder / "README.md").write_text(card)
    with pytest.raises(CorpusError, match=says):
        opened(folder)


def test_a_card_without_yaml_says_nothing(tmp_path: Path) -> None:
    folder = lay_out(tmp_path, ["train.jsonl"])
    (folder / "README.md").write_text("# My data\n---\nconfigs: none\n---\n")
    assert texts(opened(folder)) == ["train.jsonl"]


def test_the_folder_itself_may_have_brackets_and_other_bytes(tmp_path: Path) -> None:
    for name in ("my [v1] data", "\udce9t\udce9", "train"):
        folder = lay_out(tmp_path / name, ["train.jsonl", "test.jsonl"])
        assert texts(opened(folder, split="test")) == ["test.jsonl"]


def test_a_split_that_datasets_does_not_know_is_a_stem(tmp_path: Path) -> None:
    folder = lay_out(tmp_path, ["train.jsonl", "dev.jsonl", "unsupervised-00000-of-00001.jsonl"])
    assert texts(opened(folder, split="validation")) == ["dev.jsonl"]
    assert texts(opened(folder, split="dev")) == ["dev.jsonl"]
    assert texts(opened(folder, split="unsupervised")) == ["unsupervised-00000-of-00001.jsonl"]
    with pytest.raises(
        CorpusError, match=r"no split 'test'. Pick with --split: dev, train, unsupervised, valid"
    ):
        opened(folder, split="test")


def test_files_of_another_format_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    opened(lay_out(tmp_path, LAYOUTS["most of one format"]))
    assert "not read, since most files are .csv: train-notes.json" in caplog.text


def test_a_split_that_lacks_one_of_its_files_is_an_error(tmp_path: Path) -> None:
    folder = lay_out(tmp_path, ["train-00000-of-00002.jsonl", "test-00000-of-00001.jsonl"])
    with pytest.raises(CorpusError, match="split 'train' lacks files: train has 1, and their names say 2"):
        opened(folder)
    assert texts(opened(folder, split="test")) == ["test-00000-of-00001.jsonl"]


def test_a_folder_without_data_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="holds no data files"):
        opened(tmp_path)
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(CorpusError, match="holds no data files"):
        opened(tmp_path)


def test_parquet_as_the_hub_lays_it_out(tmp_path: Path) -> None:
    for name, first in (("train-00000-of-00002", 0), ("train-00001-of-00002-a1b2c3d4", 3)):
        (tmp_path / "data").mkdir(exist_ok=True)
        rows = [f"row {row}" for row in range(first, first + 3)]
        pq.write_table(pa.table({"text": rows, "label": [0, 1, 0]}), tmp_path / "data" / f"{name}.parquet")
    (tmp_path / "README.md").write_text("# a card")
    (tmp_path / "dataset_infos.json").write_text("{}")
    assert texts(opened(tmp_path)) == [f"row {row}" for row in range(6)]


def saved(rows: int) -> datasets.Dataset:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])}
    )
    columns = {"text": [f"row {row}" for row in range(rows)], "label": [row % 2 for row in range(rows)]}
    return datasets.Dataset.from_dict(columns, features=features)


def test_what_save_to_disk_wrote_is_read_with_its_names(tmp_path: Path) -> None:
    saved(7).select([3, 1, 0, 6]).save_to_disk(tmp_path / "one", num_shards=2)
    corpus = opened(tmp_path / "one")
    assert corpus.label_names == ("neg", "pos")
    assert corpus.row_count == 4
    assert [(row.text, row.label) for row in corpus.rows()] == [
        ("row 3", 1),
        ("row 1", 1),
        ("row 0", 0),
        ("row 6", 0),
    ]
    for start in range(5):
        assert [row.number for row in corpus.rows(start)] == list(range(start, 4))


def test_save_to_disk_with_splits(tmp_path: Path) -> None:
    both = datasets.DatasetDict({"train": saved(3), "test": saved(2)})
    both.save_to_disk(tmp_path / "both")
    assert texts(opened(tmp_path / "both", split="test")) == ["row 0", "row 1"]
    with pytest.raises(CorpusError, match=r"save_to_disk.*no split 'dev'. Pick with --split: train, test"):
        opened(tmp_path / "both", split="dev")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda state: state.update(_indices_data_files=[{"filename": "indices.arrow"}]), "flatten_indices"),
        (lambda state: state.update(_data_files=[{"filename": "../other/x.arrow"}]), "names no files"),
        (lambda state: state.update(_data_files="x"), "names no files"),
    ],
)
def test_a_state_that_cannot_be_followed_is_an_error(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], says: str
) -> None:
    saved(2).save_to_disk(tmp_path / "one")
    state = json.loads((tmp_path / "one" / "state.json").read_bytes())
    change(state)
    (tmp_path / "one" / "state.json").write_text(json.dumps(state))
    with pytest.raises(CorpusError, match=says):
        opened(tmp_path / "one")


def test_a_truncated_arrow_file_is_damaged_and_the_other_arrow_format_is_read(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", "b"], "label": ["x", "y"]})
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table, 1)
    assert texts(opened(tmp_path / "a.arrow")) == ["a", "b"]
    data = (tmp_path / "a.arrow").read_bytes()
    (tmp_path / "a.arrow").write_bytes(data[: len(data) // 2])
    with pytest.raises(CorpusError, match=r"a\.arrow.*damaged or was cut short"):
        opened(tmp_path / "a.arrow")
