import json
import subprocess
import sys
from importlib import resources

import pytest


def read(split):
    lines = (
        (resources.files("amix.cli") / "demo_data" / f"{split}.jsonl")
        .read_text(encoding="utf-8")
        .splitlines()
    )
    return [json.loads(line) for line in lines]


def test_the_sentences_are_distinct_and_balanced():
    rows = {split: read(split) for split in ("train", "validation", "test")}
    texts = [row["text"].casefold() for split in rows.values() for row in split]
    assert len(set(texts)) == len(texts) == 500
    for split in rows.values():
        positive = sum(row["label"] == "positive" for row in split)
        assert {row["label"] for row in split} == {"positive", "negative"}
        assert 0.45 <= positive / len(split) <= 0.55


def run(*arguments):
    command = [sys.executable, "-m", "amix", "demo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_demo_runs_the_whole_path(tiny_bert, tmp_path):
    done = run(tmp_path / "out", "--model", tiny_bert, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert set(result["eval"]) == {"none", "attentionmix"}
    for found in result["eval"].values():
        assert 0 <= found["accuracy"] <= 1
    assert (tmp_path / "out" / "shards" / "train" / "manifest.json").is_file()


def test_other_work_is_refused(tmp_path):
    (tmp_path / "thesis").write_text("x")
    done = run(tmp_path)
    assert done.returncode == 2
    assert "thesis" in done.stderr


def test_a_missing_encoder_names_the_extra(monkeypatch):
    from amix.cli import demo
    from amix.engine.base.errors import DependencyError

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"attentionmix\[demo\]"):
        demo.packaged_encoder()
