"""Runs and what stands above them: what `info` says of each, and which damage `verify` finds."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from amix.cli import main
from amix.train.options.config import TrainConfig
from amix.train.run.train import train


def amix(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def info(folder: Path) -> dict[str, Any]:  # JSON
    done = amix("info", folder, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def made(reviews: Path, held_out: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, a ranking and an analysis."""
    folder = tmp_path_factory.mktemp("verify")
    config = TrainConfig(lr=5e-5, batch_size=8, epochs=1, device="cpu", samples=16, checkpoint_steps=1)
    train(reviews, folder / "run", str(tiny_bert), config, dev=held_out, evals=[("test", held_out)])
    assert amix("select", reviews, folder / "ranking", "--model", tiny_bert).exit_code == 0
    assert amix("analyse", reviews, folder / "analysis").exit_code == 0
    return folder


def test_a_run_is_described_with_numbers_that_are_those_of_the_run(made: Path) -> None:
    found = info(made / "run")
    assert (found["kind"], found["lr"], found["model_kept"]) == ("run", 5e-5, True)
    assert found["checkpoints"] == ["checkpoint-00000001", "checkpoint-00000002"]
    shown = dict(line.split(maxsplit=1) for line in amix("info", made / "run").stdout.splitlines())
    assert shown["lr"] == "5e-05"
    assert max(len(word) for word in shown["last"].split()) <= 12  # no number with all of its digits
    assert info(made / "run" / "checkpoint-00000001") == {
        "kind": "checkpoint",
        "step": 1,
        "finished_epochs": 0,
        "best_epoch": None,
    }


def test_rankings_analyses_and_models_are_described(made: Path, tiny_bert: Path) -> None:
    ranking = info(made / "ranking")
    assert (ranking["kind"], ranking["heads"], ranking["best"]) == ("ranking", 7, ranking["best"])
    assert info(made / "analysis") == {"kind": "analysis", "texts": 40, "heads": 4}
    model = info(tiny_bert)
    assert (model["kind"], model["model_type"], model["layers"], model["classes"]) == ("model", "bert", 2, [])
    assert info(made / "run" / "model")["classes"] == ["bad", "good"]


@pytest.mark.parametrize("name", ["run", "run/model", "run/checkpoint-00000001", "ranking", "analysis"])
def test_what_is_whole_is_said_to_be_with_how_it_was_checked(made: Path, name: str) -> None:
    done = amix("verify", made / name)
    assert done.exit_code == 0, done.output
    assert "whole" in done.stdout or "can be read" in done.stdout
    assert json.loads(amix("verify", made / name, "--json").stdout)["ok"] is True


@pytest.mark.parametrize(
    "file",
    [
        "run/checkpoint-00000002/optimizer.safetensors",
        "run/model/model.safetensors",
        "run/model/config.json",
        "run/predictions/eval-test.safetensors",
        "ranking/ranking.json",
        "analysis/analysis.json",
    ],
)
def test_damage_is_found_in_the_file_that_has_it(made: Path, tmp_path: Path, file: str) -> None:
    name = file.partition("/")[0]
    shutil.copytree(made / name, tmp_path / name)
    damaged = tmp_path / file
    damaged.write_bytes(damaged.read_bytes()[:-9])
    done = amix("verify", tmp_path / name)
    assert done.exit_code == 1
    assert f"{damaged}: " in done.stderr


def test_a_damaged_log_is_found(made: Path, tmp_path: Path) -> None:
    run = shutil.copytree(made / "run", tmp_path / "run")
    (run / "metrics.jsonl").write_text("no JSON\n")
    done = amix("verify", run)
    assert done.exit_code == 1
    assert "its log or options cannot be read" in done.stderr


def test_a_model_lacks_a_part_of_its_weights(tiny_bert: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_bert, tmp_path / "model")
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    done = amix("verify", copy)
    assert done.exit_code == 1
    assert "model-00002-of-00002.safetensors is missing" in done.stderr


def test_a_comparison_is_described_and_its_runs_are_checked(
    reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    out = tmp_path / "comparison"
    given = ("--model", tiny_bert, "--methods", "none", "--seeds", 1, "--epochs", 1, "--samples", 8)
    done = amix("compare", reviews, out, "--eval", f"test={held_out}", *given)
    assert done.exit_code == 0, done.output
    found = info(out)
    assert (found["kind"], found["finished_runs"], found["runs"]) == ("comparison", 1, 1)
    assert (found["methods"], found["sets"], found["seeds"]) == (["none"], ["test"], [0])
    assert amix("verify", out).exit_code == 0

    (result,) = out.glob("runs/*/*/*/*/result.json")
    result.write_bytes(result.read_bytes().replace(b'"epoch":1', b'"epoch":2'))
    done = amix("verify", out)
    assert done.exit_code == 1
    assert f"{result}: the content does not match its own sha256" in done.stderr

    (out / "comparison.json").unlink()  # as it is before the last run has finished
    (out / "grid.yaml").unlink()
    assert info(out) == {"kind": "comparison", "finished_runs": 1}


def test_folders_that_hold_something_are_said_to(made: Path, reviews: Path, tmp_path: Path) -> None:
    shutil.copytree(reviews, tmp_path / "train")
    assert info(tmp_path) == {"kind": "folder of caches", "caches": {"train": 40}, "others": {}}
    assert amix("verify", tmp_path).exit_code == 0
    for command in ("info", "verify"):
        done = amix(command, made)
        assert done.exit_code == 1
        assert f"{made / 'run'} is a run" in done.stderr


def test_a_corpus_has_nothing_to_verify(tmp_path: Path) -> None:
    corpus = tmp_path / "train.csv"
    corpus.write_text("text,label\n")
    found = info(corpus)
    assert found.items() >= {"kind": "corpus", "bytes": 11, "rows": None}.items()
    assert (found["files"], found["columns"]) == (["train.csv"], ["text", "label"])
    assert "holds no rows" in found["problem"]
    (tmp_path / "hub" / "data").mkdir(parents=True)
    shutil.copy(corpus, tmp_path / "hub" / "data" / "test.csv")
    found = info(tmp_path / "hub")
    assert (found["files"], found["bytes"]) == (["test.csv"], 11)
    assert "has no split 'train'. Pick with --split: test." in found["problem"]
    done = amix("verify", corpus)
    assert done.exit_code == 1
    assert "there is nothing to verify" in done.stderr
