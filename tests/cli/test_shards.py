"""`precompute`, `verify` and `info`, as a user types them."""

import json
import shutil

import pytest
from click.testing import CliRunner

from amix.cli import main


def amix(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def built(tmp_path_factory, tiny_extractor, review_rows, write_jsonl):
    folder = tmp_path_factory.mktemp("cli")
    rows = [*review_rows[:20], {"text": "", "label": 0}, {"text": "film " * 100, "label": 1}]
    corpus = write_jsonl(folder / "train.jsonl", rows)
    done = amix(
        "precompute",
        corpus,
        folder / "shards",
        "--extractor",
        tiny_extractor,
        "--workers",
        1,
        "--max-length",
        500,
        "--json",
    )
    assert done.exit_code == 0, done.output
    return folder / "shards", done


def test_precompute_reports_counts_as_json_and_notices_on_stderr(built):
    shards, done = built
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["samples"] == 21
    assert summary["rejects"] == summary["truncated"] == 1
    assert summary["classes"] == ["0", "1"]
    assert "rejects.jsonl" in done.stderr
    assert "1 texts were longer than 64 tokens" in done.stderr
    assert "--max-length 500: the encoder takes at most 64 tokens" in done.stderr
    assert (shards / "manifest.json").is_file()


def test_the_same_command_again_computes_nothing(built, tiny_extractor):
    shards, _ = built
    again = amix(
        "precompute", shards.parent / "train.jsonl", shards, "--extractor", tiny_extractor, "--max-length", 64
    )
    assert again.exit_code == 0, again.output
    assert "complete already" in again.stderr


def test_verify_says_whole_or_what_is_wrong(built, tmp_path, tiny_extractor):
    shards, _ = built
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


def test_info_describes_shards_and_extractors(built, tiny_extractor):
    shards, _ = built
    found = json.loads(amix("info", shards, "--json").stdout.splitlines()[-1])
    assert (found["kind"], found["samples"], found["heads"]) == ("shards", 21, "layers 0, 1: heads 0, 1")
    assert sum(found["classes"].values()) == 21
    assert "layers 0, 1" in amix("info", tiny_extractor).stdout


@pytest.mark.parametrize("command", ["verify", "info"])
def test_other_folders_are_refused(tmp_path, command):
    done = amix(command, tmp_path)
    assert done.exit_code == 1
    assert "manifest.json" in done.stderr


def test_label_options_exclude_each_other(tmp_path, tiny_extractor):
    done = amix(
        "precompute",
        "x.jsonl",
        tmp_path / "o",
        "--extractor",
        tiny_extractor,
        "--no-labels",
        "--labels",
        "a,b",
    )
    assert done.exit_code == 2
    assert "exclude each other" in done.stderr
