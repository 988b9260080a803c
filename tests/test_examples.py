"""Every example as a user runs it: a program of its own, on the packaged sentences, with a tiny encoder."""

import importlib.util
import math
import os
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from amix.loaders.shards.verify import verify

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"

needs_lightning = pytest.mark.skipif(
    importlib.util.find_spec("lightning") is None, reason="needs lightning: pip install lightning"
)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    found = os.environ.get("PYTHONPATH")
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{found}" if found else str(ROOT),  # a clone that is not installed
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    return subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, env=environment, check=False
    )


@pytest.fixture(scope="module")
def shards(tiny_extractor: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty of the packaged sentences as train, twenty as test."""
    from amix.loaders.precompute.run import PrecomputeOptions, precompute

    folder = tmp_path_factory.mktemp("sample")
    for split, rows in (("train", 40), ("test", 20)):
        source = resources.files("amix.cli") / "demo_data" / f"{split}.jsonl"
        corpus = folder / f"{split}.jsonl"
        corpus.write_text("".join(source.read_text("utf-8").splitlines(keepends=True)[:rows]), "utf-8")
        precompute(
            str(corpus), folder / split, extractor=tiny_extractor, options=PrecomputeOptions(workers=1)
        )
    return folder


def check_table(output: str, texts: int) -> None:
    """Check what an example says of a set of `texts` texts: they are measured, and mixing makes a difference."""
    lines = output.splitlines()[-3:]  # the Trainer writes its log before
    assert lines[0].split() == ["method", "accuracy", "nll", "ece"]
    assert [line.split()[0] for line in lines[1:]] == ["plain", "mixed"]
    rows = [[float(cell) for cell in line.split()[1:]] for line in lines[1:]]
    for accuracy, nll, ece in rows:
        # It is a share of the texts.
        assert min(abs(accuracy - right / texts) for right in range(texts + 1)) < 0.001
        assert nll >= (1 - accuracy) * math.log(2) - 0.001  # the loss of a text that is wrong, of two classes
        assert 0 <= ece <= 1
    assert rows[0][1] != rows[1][1]


@pytest.mark.parametrize("name", ["hf_trainer", pytest.param("lightning_module", marks=needs_lightning)])
def test_the_example_runs_on_shards(name: str, tiny_bert: Path, shards: Path) -> None:
    done = run(EXAMPLES / f"{name}.py", "--model", tiny_bert, "--shards", shards, "--epochs", "1")
    assert done.returncode == 0, done.stderr
    check_table(done.stdout, texts=20)


def test_an_example_makes_its_shards_itself(tiny_bert: Path) -> None:
    done = run(EXAMPLES / "plain_pytorch.py", "--model", tiny_bert, "--epochs", "1")
    assert done.returncode == 0, done.stderr
    check_table(done.stdout, texts=200)


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra [ray]")
def test_a_pipeline_of_ray_data_ends_in_shards(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    done = run(EXAMPLES / "ray_pipeline.py", "--model", tiny_bert, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("200 sentences in 4 shards\n")
    assert verify(tmp_path / "out", deep=True) == []


def test_without_lightning_a_sentence_says_so() -> None:
    blocked = (
        "import runpy, sys; sys.modules['lightning'] = None; runpy.run_path(sys.argv[1], run_name='__main__')"
    )
    done = run("-c", blocked, EXAMPLES / "lightning_module.py")
    assert done.returncode == 1
    assert "pip install lightning" in done.stderr and "Traceback" not in done.stderr


def test_examples_are_programs_that_the_readme_names() -> None:
    programs = {path.name for path in EXAMPLES.glob("*.py")} - {"sample_set.py"}
    readme = (EXAMPLES / "README.md").read_text("utf-8")
    assert set(re.findall(r"examples/(\w+\.py)", readme)) - {"sample_set.py"} == programs
    for name in programs:
        assert os.access(EXAMPLES / name, os.X_OK), name
        assert (EXAMPLES / name).read_text("utf-8").startswith("#!/usr/bin/env python")
