import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amix.engine.base import canonical
from amix.engine.base.errors import ShardError
from amix.loaders.shards.finish import publish_manifest
from amix.loaders.shards.manifest import Manifest
from amix.loaders.shards.records import ShardFacts
from amix.loaders.shards.tokenizer import TokenizerFile
from amix.loaders.shards.verify import verify
from amix.loaders.shards.writer import Sample, ShardWriter
from amix.loaders.stream.dataset import RelevanceDataset

TAR = "shard-00000001.tar"


def read_all(folder: Path) -> list[dict[str, Any]]:
    dataset = RelevanceDataset(folder, head="mean")
    return [dataset[number] for number in range(len(dataset))]


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_a_whole_folder_has_no_problems(shards: Path) -> None:
    assert verify(shards) == []
    assert verify(shards, deep=True) == []


@pytest.mark.parametrize("cut", [0, 512, 1024, 5000, -1, -1024])
def test_a_truncated_tar_is_found_on_opening(damaged: Path, cut: int) -> None:
    tar = damaged / TAR
    tar.write_bytes(tar.read_bytes()[:cut])
    with pytest.raises(ShardError, match=TAR):
        RelevanceDataset(damaged)
    assert any(TAR in problem for problem in verify(damaged))


@pytest.mark.parametrize(
    "name", [TAR, "shard-00000001.index.npy", "shard-00000001.json", "manifest.json", "tokenizer.json"]
)
def test_a_git_lfs_pointer_is_called_one(damaged: Path, name: str) -> None:
    (damaged / name).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    assert any(f"{damaged / name}: is a Git LFS pointer" in problem for problem in verify(damaged))
    if name != "tokenizer.json":
        with pytest.raises(ShardError, match="is a Git LFS pointer"):
            RelevanceDataset(damaged)


def test_a_truncated_empty_file_is_named(damaged: Path) -> None:
    (damaged / "shard-00000001.index.npy").write_bytes(b"")
    assert any("shard-00000001.index.npy" in problem for problem in verify(damaged))


def test_a_flipped_bit_in_a_payload_is_found_on_reading_and_names_the_sample(damaged: Path) -> None:
    index = RelevanceDataset(damaged)._readers[1].index  # where the bytes of one sample are
    flip(damaged / TAR, int(index["offset"][3]) + 512 + 128)
    assert verify(damaged) == []  # sizes and counts are right
    with pytest.raises(ShardError, match=r"shard-00000001\.tar: sample 000000000019: the bytes of input_ids"):
        read_all(damaged)
    assert any(TAR in problem for problem in verify(damaged, deep=True))


@pytest.mark.parametrize("name", ["shard-00000002.json", "manifest.json", "tokenizer.json"])
def test_a_flipped_bit_in_a_document_is_found_by_the_fast_check(damaged: Path, name: str) -> None:
    flip(damaged / name, 40)
    assert any(name in problem for problem in verify(damaged))


@pytest.mark.parametrize("name", ["shard-00000002.index.npy", "shard-00000002.crc.npy"])
def test_a_flipped_bit_beside_the_tar_is_found_on_reading(damaged: Path, name: str) -> None:
    flip(damaged / name, -9)
    with pytest.raises(ShardError, match="shard-00000002"):
        read_all(damaged)
    assert any(name in problem for problem in verify(damaged, deep=True))


@pytest.mark.parametrize("region", [0, 124, 148, 156, 600])
def test_a_flipped_bit_in_a_header_is_found_by_the_deep_check(damaged: Path, region: int) -> None:
    flip(damaged / TAR, region)
    assert any(TAR in problem for problem in verify(damaged, deep=True))


def test_missing_and_extra_and_swapped_shards_are_found(damaged: Path) -> None:
    one, two = damaged / "shard-00000001.tar", damaged / "shard-00000002.tar"
    extra = damaged / "shard-00000009.tar"
    extra.write_bytes(one.read_bytes())
    assert any("shard-00000009.tar" in problem for problem in verify(damaged))
    extra.unlink()
    data = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(data)
    first, second = verify(damaged, deep=True)
    assert (one.name in first, two.name in second) == (True, True)
    with pytest.raises(ShardError):
        read_all(damaged)
    one.unlink()
    assert any("is missing" in problem for problem in verify(damaged))


def test_every_damaged_shard_is_reported(damaged: Path) -> None:
    for name in ("shard-00000000.tar", "shard-00000003.tar"):
        flip(damaged / name, 700)
    problems = verify(damaged, deep=True)
    assert ["shard-00000000.tar" in problems[0], "shard-00000003.tar" in problems[1]] == [True, True]


def test_a_manifest_that_names_other_folders_is_refused(damaged: Path) -> None:
    fields = json.loads((damaged / "manifest.json").read_bytes())
    fields["shards"][0]["name"] = "../elsewhere/shard-00000000"
    (damaged / "shard-00000000.tar").unlink()
    (damaged / "manifest.json").write_bytes(canonical.seal(fields))
    with pytest.raises(ShardError, match="Do not use this folder"):
        RelevanceDataset(damaged)


def test_the_record_of_another_run_is_found(damaged: Path) -> None:
    path = damaged / "shard-00000001.json"
    record = json.loads(path.read_bytes())
    path.write_bytes(canonical.seal({**record, "truncated": 5}))
    assert any("another run" in problem for problem in verify(damaged))


def test_a_link_in_place_of_a_tar_is_refused(damaged: Path, shards: Path) -> None:
    (damaged / TAR).unlink()
    (damaged / TAR).symlink_to(shards / TAR)
    assert any("link" in problem for problem in verify(damaged))


def test_values_that_no_run_writes_are_found(damaged: Path) -> None:
    """Consistent hashes do not make values right: the deep check looks at them too."""
    manifest = Manifest.read(damaged)
    record = manifest.record(3)
    samples = [Sample(row=row, ids=np.array([2, 60_000, 3]), label=0) for row in range(48, 60)]
    relevance = [(number, np.ones((4, 3), np.float32)) for number in range(len(samples))]
    facts = ShardFacts(row_range=record.row_range, recipe=record.recipe)
    new = ShardWriter(damaged, 3, manifest.layout).publish(samples, relevance, facts)
    records = [*(manifest.record(position) for position in range(3)), new]
    tokenizer = TokenizerFile.of_cache(manifest.folder, manifest.tokenizer)
    publish_manifest(damaged, records, manifest.recipe, relevance="received", tokenizer=tokenizer)
    assert verify(damaged) == []
    assert any("beyond the vocabulary" in problem for problem in verify(damaged, deep=True))


@pytest.mark.parametrize(("name", "message"), [("absent", "no such folder"), ("", "holds no manifest.json")])
def test_what_is_no_shard_folder_is_refused(tmp_path: Path, name: str, message: str) -> None:
    assert any(message in problem for problem in verify(tmp_path / name))


def test_an_unfinished_run_is_told_from_other_folders(damaged: Path) -> None:
    (damaged / "manifest.json").unlink()
    assert any("not finished" in problem for problem in verify(damaged))
