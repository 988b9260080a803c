"""A file that is cut while a reader has it open is an error that names it, and not the end of the process."""

import os
from pathlib import Path

import pytest

from amix.engine.base.errors import ShardError
from amix.loaders.shards.remote import CacheOptions
from amix.loaders.shards.verify import verify
from amix.loaders.stream.dataset import RelevanceDataset
from amix.loaders.stream.loader import RelevanceLoader
from amix.loaders.stream.reading import Reading
from tests.loaders.forge import forge, layout_of

HEADS = 20  # more than an open shard keeps the checksums of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two shards of 32 pages and more."""
    return forge(tmp_path / "cache", [300] * 64, layout_of(heads=HEADS), per_shard=32)


@pytest.mark.parametrize("size", [0, 4096, -4096])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_tar_cut_under_a_running_reader(folder: Path, workers: int, size: int) -> None:
    reading = Reading(workers=workers, start_method="forkserver", prefetch_batches=1)
    batches = iter(RelevanceLoader(RelevanceDataset(folder, "0.1"), batch_size=1, reading=reading))
    next(batches)  # of one shard or the other
    for path in folder.glob("*.tar"):
        os.truncate(path, size % path.stat().st_size)
    with pytest.raises(
        ShardError, match=r"^\S*shard-0000000.\.tar: was cut from \d+ bytes to \d+ since the cache was opened"
    ):
        list(batches)


def test_a_cut_tar_is_refused_even_where_its_bytes_are_still_there(folder: Path) -> None:
    dataset = RelevanceDataset(folder, "0.0")
    dataset.batch([0])
    os.truncate(folder / "shard-00000000.tar", (folder / "shard-00000000.tar").stat().st_size - 1)
    with pytest.raises(ShardError, match=r"shard-00000000\.tar: was cut"):
        dataset.batch([0])


def test_checksums_cut_under_a_running_reader(folder: Path) -> None:
    dataset = RelevanceDataset(folder, "mean")
    dataset.batch([0])
    os.truncate(folder / "shard-00000000.crc.npy", 500)
    dataset.with_head("0.0").batch([1])  # of a head whose checksums are in memory
    with pytest.raises(ShardError, match=r"shard-00000000\.crc\.npy: was cut from \d+ bytes to 500"):
        dataset.batch([1])


def test_an_index_cut_before_it_is_read(folder: Path) -> None:
    dataset = RelevanceDataset(folder, "0.0")
    os.truncate(folder / "shard-00000000.index.npy", 500)
    with pytest.raises(ShardError, match=r"shard-00000000\.index\.npy: does not match its record"):
        dataset.batch([1])


def test_a_local_copy_cut_under_a_running_reader(folder: Path, tmp_path: Path) -> None:
    dataset = RelevanceDataset(f"file://{folder}", "0.0", cache=CacheOptions(folder=tmp_path / "store"))
    dataset.batch([0])
    (copy,) = tmp_path.glob("store/*/shard-00000000.tar")
    os.truncate(copy, 0)
    with pytest.raises(ShardError, match=rf"{copy}: was cut .*fetched again"):
        dataset.batch([1])
    copy.unlink()
    again = RelevanceDataset(f"file://{folder}", "0.0", cache=CacheOptions(folder=tmp_path / "store"))
    assert again.batch([1])["keys"] == [f"{1:012d}"]


def test_damaged_samples_that_are_skipped_include_those_of_a_cut_tar(folder: Path) -> None:
    dataset = RelevanceDataset(folder, "0.0", damaged="skip")
    dataset.batch([0])
    os.truncate(folder / "shard-00000000.tar", 4096)
    assert dataset.batch([1, 40])["keys"] == [f"{40:012d}"]
    assert dataset.skipped == 1


def test_a_deep_check_reads_with_more_heads_than_are_kept(folder: Path) -> None:
    assert verify(folder, deep=True) == []


def test_a_shard_that_is_closed_holds_nothing_and_opens_again(folder: Path) -> None:
    dataset = RelevanceDataset(folder, "0.0")
    before = _open_files()
    first = dataset.batch([3])
    assert _open_files() == before + 2
    reader = dataset._readers[0]
    reader.close()
    assert reader._index is None
    assert _open_files() == before
    assert (dataset.batch([3])["relevance"] == first["relevance"]).all()


def _open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))
