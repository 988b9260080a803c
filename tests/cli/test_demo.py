import json
import re
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from safetensors.numpy import load_file

from amix.cli import main
from amix.cli.demo import ROLES
from amix.engine.base.installing import install
from amix.loaders.shards.manifest import Manifest
from amix.train.score.metrics import accuracy, ece, nll

SENTENCES = {"train": 200, "validation": 100, "test": 200}


def read(split: str) -> list[dict[str, str]]:
    file = resources.files("amix.cli") / "demo_data" / f"{split}.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_the_sentences_are_distinct_and_balanced() -> None:
    rows = {split: read(split) for split in SENTENCES}
    assert {split: len(each) for split, each in rows.items()} == SENTENCES
    texts = [row["text"].casefold() for split in rows.values() for row in split]
    assert len(set(texts)) == len(texts) == 500
    for split in rows.values():
        positive = sum(row["label"] == "positive" for row in split)
        assert {row["label"] for row in split} == {"positive", "negative"}
        assert 0.45 <= positive / len(split) <= 0.55


def demo(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["demo", *map(str, arguments)])


def test_the_demo_runs_the_whole_path(tiny_bert: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = demo(out, "--model", tiny_bert, "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.splitlines()[-1])
    assert set(result["eval"]) == {"none", "attentionmix"}
    folders = {"none": out / "baseline", "attentionmix": out / "run"}
    for method, found in result["eval"].items():
        said = load_file(folders[method] / "predictions" / "eval-test.safetensors")
        logits, truth = said["logits"].astype(np.float64), said["truth"]
        assert len(truth) == SENTENCES["test"]
        assert found["accuracy"] == accuracy(logits.argmax(axis=1), truth)
        assert found["nll"] == pytest.approx(nll(logits, truth), abs=1e-6)
        assert found["ece"] == pytest.approx(ece(logits, truth), abs=1e-6)
        assert yaml.safe_load((folders[method] / "config.yaml").read_text())["method"] == method
    assert result["eval"]["none"] != result["eval"]["attentionmix"]
    for role, split in ROLES.items():
        assert Manifest.read(out / "shards" / role).samples == SENTENCES[split]


def test_other_work_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_text("x")
    done = demo(tmp_path)
    assert done.exit_code == 2
    assert "thesis" in done.stderr


def test_a_missing_encoder_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from amix.cli import demo
    from amix.engine.base.errors import DependencyError

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=re.escape(install("demo"))):
        demo.packaged_encoder()
