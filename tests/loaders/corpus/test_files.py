import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from amix.engine.base.errors import CorpusError
from amix.loaders.corpus import Corpus, CorpusOptions, open_corpus

LINES = b"".join(b'{"text": "review %d", "label": %d}\n' % (number, number % 2) for number in range(2000))
CSV = b"text,label\n" + b"".join(b"review %d,%d\n" % (number, number % 2) for number in range(2000))


def opened(path: Path | str, **options: Any) -> Corpus:
    return open_corpus(str(path), CorpusOptions(**options))


def texts(corpus: Corpus) -> list[str | None]:
    return [row.text for row in corpus.rows()]


def pack(data: bytes, suffix: str) -> bytes:
    if suffix == ".gz":
        return gzip.compress(data, mtime=0)
    if suffix == ".zst":
        return zstandard.ZstdCompressor().compress(data)
    return data


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize(
    ("name", "data"), [("a.jsonl", LINES), ("a.json", LINES), ("a.csv", CSV), ("A.CSV", CSV)]
)
def test_packed_and_plain_files_give_the_same_rows(
    tmp_path: Path, name: str, data: bytes, suffix: str
) -> None:
    path = tmp_path / (name + suffix)
    path.write_bytes(pack(data, suffix))
    rows = list(opened(path).rows())
    assert len(rows) == 2000
    assert (rows[1999].text, rows[1999].label, rows[1999].reject) == ("review 1999", 1, None)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_files_packed_in_several_pieces_are_read_to_the_end(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(pack(LINES, suffix) + pack(LINES, suffix))
    assert len(texts(opened(path))) == 4000


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_packed_file_that_was_cut_short_is_an_error(
    tmp_path: Path, name: str, suffix: str, share: float
) -> None:
    whole = pack(LINES if "json" in name else CSV, suffix)
    path = tmp_path / (name + suffix)
    path.write_bytes(whole[: max(5, int(len(whole) * share))])
    with pytest.raises(CorpusError, match=rf"{name}.*damaged or was cut short.*Fetch it again"):
        opened(path)
    with pytest.raises(CorpusError, match="Fetch it again"):
        texts(opened(path, no_labels=True))


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_file_that_is_not_packed_as_its_name_says_is_an_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(LINES)
    with pytest.raises(CorpusError, match="Fetch it again"):
        opened(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet", "a.jsonl.gz"])
def test_an_empty_file_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(CorpusError, match="is empty"):
        opened(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "data"), [("a.jsonl", b"\n \r\n\n"), ("a.csv", b"text,label\n\n"), ("b.jsonl", b"\xef\xbb\xbf")]
)
@pytest.mark.parametrize("no_labels", [True, False])
def test_a_corpus_without_rows_is_an_error(tmp_path: Path, name: str, data: bytes, no_labels: bool) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CorpusError, match="holds no"):
        opened(tmp_path / name, no_labels=no_labels)


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no such file"):
        opened(tmp_path / "none.jsonl")
    with pytest.raises(CorpusError, match="no file matches"):
        opened(tmp_path / "*.jsonl")
    with pytest.raises(CorpusError, match="no such file"):
        opened("no-such-corpus-here.jsonl")


@pytest.mark.parametrize("name", ["a.txt", "a.parquet.gz", "a", "a.jsonl.bz2"])
def test_an_unknown_kind_of_file_is_an_error_that_lists_the_known_ones(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(LINES)
    with pytest.raises(CorpusError, match=r"unknown kind of file.*\.jsonl.*\.csv.*\.parquet"):
        opened(tmp_path / name)


def test_a_glob_is_read_in_the_order_of_its_names(tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    for name in ("c", "a", "b"):
        write_jsonl(
            tmp_path / "deep" / f"{name}.jsonl", [{"text": f"{name}{n}", "label": n} for n in range(2)]
        )
    write_jsonl(tmp_path / "deep" / ".hidden.jsonl", [{"text": "no", "label": 0}])
    corpus = opened(tmp_path / "d*" / "*.jsonl")
    assert texts(corpus) == ["a0", "a1", "b0", "b1", "c0", "c1"]
    for start in range(7):
        assert [row.number for row in corpus.rows(start)] == list(range(start, 6))
    files = corpus.identity["files"]
    assert isinstance(files, list)
    assert len(files) == 3


def test_a_relative_glob_and_a_name_with_glob_characters(
    tmp_path: Path, write_jsonl: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "a[1].jsonl", [{"text": "odd", "label": 0}])
    write_jsonl(tmp_path / "a1.jsonl", [{"text": "plain", "label": 0}])
    assert texts(opened("a[1].jsonl")) == ["odd"]
    assert texts(opened("a?.jsonl")) == ["plain"]


def test_reasons_name_the_number_of_the_file_not_its_path(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x", "label": 0}\n')
    (tmp_path / "b.jsonl").write_text('{"text": "x", "label": 1}\n{"text"\n')
    bad = list(opened(tmp_path / "*.jsonl").rows())[2]
    assert bad.reject is not None
    assert bad.reject.startswith("file 2, line 2: not valid JSON")


def test_mixed_formats_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)
    (tmp_path / "b.csv").write_bytes(CSV)
    with pytest.raises(CorpusError, match=r"mixes formats \(a.jsonl, b.csv\)"):
        opened(tmp_path / "*")


def test_columns_are_checked_in_every_file(tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"text": "x", "label": 0}])
    write_jsonl(tmp_path / "b.jsonl", [{"sentence": "x", "label": 0}])
    with pytest.raises(CorpusError, match=r"b\.jsonl: has no column 'text'. It has: sentence, label"):
        opened(tmp_path / "*.jsonl")


def hub_folder(folder: Path) -> Path:
    """A folder as the Hub lays it out: two files of train, one of test, a card and notes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, first in (
        ("train-00000-of-00002", 0),
        ("train-00001-of-00002-a1b2c3d4", 3),
        ("test-00000-of-00001", 6),
    ):
        rows = range(first, first + 3)
        table = pa.table({"text": [f"row {row}" for row in rows], "label": [row % 2 for row in rows]})
        pq.write_table(table, folder / f"{name}.parquet")
    (folder / "README.md").write_text("# a card")
    (folder / "dataset_infos.json").write_text("{}")
    return folder


@pytest.mark.parametrize("place", ["", "data"])
def test_a_folder_in_hub_layout_gives_one_split(tmp_path: Path, place: str) -> None:
    hub_folder(tmp_path / place)
    assert texts(opened(tmp_path)) == [f"row {row}" for row in range(6)]
    assert texts(opened(tmp_path, split="test")) == ["row 6", "row 7", "row 8"]
    with pytest.raises(CorpusError, match=r"no split 'validation'. Pick with --split: test, train"):
        opened(tmp_path, split="validation")


def test_a_folder_lacking_one_of_its_files_is_an_error(tmp_path: Path) -> None:
    hub_folder(tmp_path)
    (tmp_path / "train-00001-of-00002-a1b2c3d4.parquet").unlink()
    with pytest.raises(CorpusError, match="split 'train' has 1 files, the names say 2"):
        opened(tmp_path)


def test_subfolders_are_configurations(tmp_path: Path) -> None:
    hub_folder(tmp_path / "plain")
    assert len(texts(opened(tmp_path))) == 6  # the only one
    hub_folder(tmp_path / "fancy")
    with pytest.raises(CorpusError, match="--config: fancy, plain"):
        opened(tmp_path)
    assert len(texts(opened(tmp_path, config="fancy", split="test"))) == 3
    with pytest.raises(CorpusError, match="--config"):
        opened(tmp_path, config="other")


def test_split_names_are_file_stems(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(LINES)
    (tmp_path / "my_dev-0.jsonl").write_bytes(LINES[: len(LINES) // 2].rpartition(b"\n")[0])
    assert len(texts(opened(tmp_path))) == 2000
    assert len(texts(opened(tmp_path, split="my_dev"))) < 2000


def test_a_folder_without_data_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(CorpusError, match="holds no data"):
        opened(tmp_path)
