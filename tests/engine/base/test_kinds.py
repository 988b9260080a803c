"""What a file or folder is taken for; runs and what stands above them are in tests/study/test_verify.py."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from amix.engine.base.kinds import children, described, is_stray, kind_of


def test_what_the_commands_write_is_known(tiny_extractor: Path, reviews: Path, tiny_bert: Path) -> None:
    assert kind_of(tiny_extractor) == "extractor"
    assert kind_of(str(reviews)) == "cache"
    assert kind_of(tiny_bert) == "model"
    assert described(reviews) == "a cache of shards"


def test_a_cache_without_its_manifest_is_not_finished(reviews: Path, tmp_path: Path) -> None:
    begun = shutil.copytree(reviews, tmp_path / "begun")
    (begun / "manifest.json").unlink()
    assert kind_of(begun) == "unfinished cache"


def test_a_folder_of_caches_is_no_cache(reviews: Path, tmp_path: Path) -> None:
    shutil.copytree(reviews, tmp_path / "train")
    (tmp_path / "notes.txt").write_text("x")
    assert kind_of(tmp_path) == "folder of caches"
    assert children(tmp_path) == {"train": "cache"}


@pytest.mark.parametrize(
    "name", ["train.jsonl", "train.CSV", "rows.tsv.gz", "data/train-00000-of-00002.parquet"]
)
def test_a_corpus_is_known_by_the_endings_of_its_files(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.touch()
    assert kind_of(file) == kind_of(tmp_path) == "corpus"


@pytest.mark.parametrize(
    "name", ["thesis.tex", "config.json", "manifest.json", "metrics.jsonl", "model.safetensors"]
)
def test_other_folders_are_nothing_that_is_known(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert kind_of(tmp_path) is None
    assert described(tmp_path) is None


@pytest.mark.parametrize("place", ["nowhere", "", "name/cache", "a\0b", "s3://bucket/cache"])
def test_what_is_not_here_is_no_error(place: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert kind_of(place) is None


def test_what_desktops_leave_behind_is_nobodys_work() -> None:
    assert all(map(is_stray, (".DS_Store", "._shard-00000000.tar", "Thumbs.db", ".nfs0000001")))
    assert not any(map(is_stray, ("notes.txt", ".git", "shard-00000000.tar")))
