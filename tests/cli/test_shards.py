"""`verify` and `info`, as a user types them."""

import json
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from amix.cli import main
from amix.loaders.precompute.run import PrecomputeOptions, precompute
from tests.loaders.flaky import FlakyStore


def amix(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def shards(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_extractor: Path,
    review_rows: list[dict[str, Any]],
    write_jsonl: Callable[..., Path],
) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    corpus = write_jsonl(folder / "train.jsonl", review_rows[:21])
    options = PrecomputeOptions(workers=1)
    precompute(str(corpus), folder / "shards", extractor=tiny_extractor, options=options)
    return folder / "shards"


def test_verify_says_whole_or_what_is_wrong(shards: Path, tmp_path: Path, tiny_extractor: Path) -> None:
    assert "whole" in amix("verify", shards, "--deep").stdout
    assert "whole" in amix("verify", tiny_extractor).stdout
    damaged = shutil.copytree(shards, tmp_path / "damaged")
    tar = damaged / "shard-00000000.tar"
    tar.write_bytes(tar.read_bytes()[:-512])
    done = amix("verify", damaged, "--json")
    assert done.exit_code == 1
    assert "shard-00000000.tar" in done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["ok"] is False
    assert len(report["problems"]) == 1


def test_info_describes_shards_and_extractors(shards: Path, tiny_extractor: Path) -> None:
    found = json.loads(amix("info", shards, "--json").stdout.splitlines()[-1])
    assert (found["kind"], found["samples"], found["heads"]) == ("shards", 21, "layers 0, 1: heads 0, 1")
    assert sum(found["classes"].values()) == 21
    assert "layers 0, 1" in amix("info", tiny_extractor).stdout


def test_info_lists_the_columns_of_a_corpus_and_says_which_are_taken(tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text("review,label\ngood,2\nbad,0\n")
    done = amix("info", tmp_path / "reviews.csv")
    assert done.exit_code == 0
    found = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert (found["columns"], found["rows"]) == ("review, label", "2")
    assert "label column  label\n" in done.stdout
    assert "No column is called 'text'." in done.stderr and "--text-column" in done.stderr
    assert "called 'label'" not in done.stderr
    (tmp_path / "reviews.csv").write_bytes(b"")
    done = amix("info", tmp_path / "reviews.csv", "--json")
    assert (done.exit_code, json.loads(done.stdout)["bytes"]) == (0, 0)
    assert "the header cannot be read" in json.loads(done.stdout)["problem"]


def test_shards_at_a_url_are_described_verified_and_looked_into(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMIX_CACHE", str(tmp_path / "cache"))

    def found(command: str, place: object, *more: object) -> Any:
        done = amix(command, place, *more, "--json")
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    with FlakyStore(shards) as store:
        secret = f"{store.url}?signature=s3cr3t"
        assert found("info", secret) == found("info", shards)
        assert found("verify", secret, "--deep") == {
            "folder": store.url,
            "kind": "cache",
            "deep": True,
            "ok": True,
            "problems": [],
        }
        assert found("inspect", secret, "--row", 3) == found("inspect", shards, "--row", 3)


@pytest.mark.parametrize("command", ["verify", "info"])
def test_other_folders_are_refused(tmp_path: Path, command: str) -> None:
    done = amix(command, tmp_path)
    assert done.exit_code == 1
    assert "is nothing that amix knows. A cache has a manifest.json" in done.stderr
    done = amix(command, tmp_path / "absent")
    assert done.exit_code == 1
    assert "there is no such file or folder" in done.stderr


def test_repack_slims_and_says_by_how_much(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "slim"
    done = amix(
        "repack", shards, out, "--heads", "0.1", "--dtype", "uint8", "--samples-per-shard", 5, "--json"
    )
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert (report["samples"], report["shards"]) == (21, 5)
    assert report["bytes"] == sum(path.stat().st_size for path in out.glob("*.tar"))
    assert report["bytes_before"] == sum(path.stat().st_size for path in shards.glob("*.tar"))
    assert amix("verify", out, "--deep").exit_code == 0
    again = amix("repack", shards, out, "--heads", "0.0")
    assert again.exit_code == 1
    assert "--restart" in again.stderr


def test_repack_says_in_bytes_why_a_cache_grew(shards: Path, tmp_path: Path) -> None:
    def sizes(folder: Path) -> Counter[str]:
        """The bytes of each kind of member, with its header and in whole blocks, read from the tars."""
        found = Counter[str]()
        for path in folder.glob("*.tar"):
            with tarfile.open(path) as tar:
                members = tar.getmembers()
            for each in members:
                found[each.name.partition(".")[2]] += 512 + -(-each.size // 512) * 512
            found["ends of tars"] += path.stat().st_size
            found["ends of tars"] -= sum(512 + -(-each.size // 512) * 512 for each in members)
        return found

    done = amix("repack", shards, tmp_path / "out", "--dtype", "uint8", "--samples-per-shard", 5)
    assert done.exit_code == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "It grew by" in line]
    before, after = sizes(shards), sizes(tmp_path / "out")
    assert f"It grew by {after.total() - before.total():,} bytes: " in line
    for name in {*before, *after}:
        change = after[name] - before[name]
        assert (f"{name} {change:+,}" in line) == (change != 0), name
    assert after["scale.npy"] == 21 * 1024
    assert "a header of 512 bytes" in line
    assert "It grew" not in amix("repack", shards, tmp_path / "less", "--heads", "0.1").stderr
