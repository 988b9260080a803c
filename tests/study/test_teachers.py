"""From a teacher to a student: what runs say of texts without labels becomes labels that a classifier is trained on."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from amix.cli import main
from amix.loaders.shards.rewrite.relabel import NewLabels, relabel
from amix.loaders.shards.rewrite.repack import RepackOptions, repack
from amix.loaders.shards.verify import verify
from amix.loaders.stream.dataset import RelevanceDataset
from amix.train.options.config import TrainConfig
from amix.train.run.folder import load_predictions
from amix.train.run.train import train
from amix.train.score.ensemble import mean_of, temperature_of
from amix.train.score.metrics import log_softmax

FAST: dict[str, Any] = {"lr": 1e-2, "batch_size": 8, "epochs": 3, "device": "cpu"}


def amix(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def unlabelled(make_shards: Any, review_rows: list[dict[str, Any]], tmp_path_factory: Any) -> Path:
    """The texts of `held_out` without their labels, in three shards."""
    rows = [{"text": row["text"]} for row in review_rows[40:]]
    folder: Path = tmp_path_factory.mktemp("unlabelled") / "shards"
    repack([make_shards(rows, no_labels=True)], folder, RepackOptions(samples_per_shard=8))
    return folder


@pytest.fixture(scope="module")
def teachers(reviews: Path, held_out: Path, tiny_bert: Path, tmp_path_factory: Any) -> tuple[Path, Path]:
    """An ensemble with a temperature, and a run without one."""
    folder: Path = tmp_path_factory.mktemp("teachers")
    config, evals = TrainConfig(**FAST, method="none"), [("same", held_out)]
    train(reviews, folder / "several", str(tiny_bert), replace(config, ensemble=2), "0.25", evals)
    train(reviews, folder / "one", str(tiny_bert), replace(config, seed=5), evals=evals)
    return folder / "several", folder / "one"


def test_a_student_learns_from_what_its_teachers_say(
    teachers: tuple[Path, Path], unlabelled: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    several, one = teachers
    done = amix("label", several, one, unlabelled, tmp_path / "soft", "--device", "cpu", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["samples"], said["shards"], said["models"]) == (20, 3, 3)
    assert said["classes"] == ["bad", "good"]
    assert verify(tmp_path / "soft", deep=True) == []

    # `held_out` holds the same texts, of which the runs have kept predictions.
    folders = (several, several / "ensemble" / "1", one)
    members = [load_predictions(folder, ["same"])[0]["same"] for folder in folders]
    labels = RelevanceDataset(tmp_path / "soft", head=None).batch(range(20))["labels"]
    assert labels.dtype == np.float32
    assert np.allclose(labels, np.exp(mean_of(members).logits_NC), atol=1e-5)
    assert np.allclose(labels.sum(axis=1), 1, atol=1e-6)

    sets = [("truth", held_out), ("taught", tmp_path / "soft")]
    config = TrainConfig(**FAST)
    mixed = train(tmp_path / "soft", tmp_path / "mixed", str(tiny_bert), config, evals=sets)
    assert mixed.eval["taught"].keys() == mixed.eval["truth"].keys()
    model_config = json.loads((tmp_path / "mixed" / "model" / "config.json").read_text())
    assert model_config["problem_type"] == "single_label_classification"
    held = train(tmp_path / "soft", tmp_path / "held", str(tiny_bert), config, dev="0.25", evals=sets)
    assert held.temperature is not None


def test_a_student_becomes_as_sure_as_its_teachers(
    unlabelled: Path, still_bert: Path, tmp_path: Path
) -> None:
    def weights(rows: range) -> NDArray[np.float32]:
        return np.tile(np.array([0.3, 0.7], np.float32), (len(rows), 1))

    said = NewLabels(names=("bad", "good"), soft=True, origin="by hand", weights=weights)
    relabel(unlabelled, tmp_path / "soft", said)
    config = TrainConfig(**{**FAST, "epochs": 12}, method="none")
    train(tmp_path / "soft", tmp_path / "run", str(still_bert), config, evals=[("taught", tmp_path / "soft")])
    found = load_predictions(tmp_path / "run", ["taught"])[0]["taught"]
    # Hard labels would make it 1; yes or no for each class, 0.84.
    assert np.exp(log_softmax(found.logits_NC))[:, 1] == pytest.approx(0.7, abs=0.05)


def test_the_temperature_of_a_run_goes_into_its_labels(
    teachers: tuple[Path, Path], unlabelled: Path, tmp_path: Path
) -> None:
    several, one = teachers
    assert amix("label", several, unlabelled, tmp_path / "scaled", "--scaled").exit_code == 0
    found = [load_predictions(folder, ["same"]) for folder in (several, several / "ensemble" / "1")]
    temperature = temperature_of([on_dev for _, on_dev in found])
    assert temperature is not None
    expected = mean_of([on_evals["same"] for on_evals, _ in found], temperature)
    labels = RelevanceDataset(tmp_path / "scaled", head=None).batch(range(20))["labels"]
    assert np.allclose(labels, np.exp(expected.logits_NC), atol=1e-5)

    refused = amix("label", several, one, unlabelled, tmp_path / "other", "--scaled")
    assert refused.exit_code == 1
    assert "one: has no temperature, because it was trained without --dev" in refused.stderr
    assert not (tmp_path / "other").exists()


def test_a_stopped_run_goes_on_and_another_teacher_is_refused(
    teachers: tuple[Path, Path], unlabelled: Path, tmp_path: Path
) -> None:
    several, one = teachers
    out = tmp_path / "soft"
    assert amix("label", one, unlabelled, out).exit_code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for name in ("manifest.json", "shard-00000001.json", "shard-00000001.tar"):
        (out / name).unlink()
    assert amix("label", one, unlabelled, out).exit_code == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    other = amix("label", several, unlabelled, out)
    assert other.exit_code == 1
    assert "was begun with labelled_by" in other.stderr
    assert amix("label", several, unlabelled, out, "--restart").exit_code == 0


def test_what_cannot_teach_is_refused(
    teachers: tuple[Path, Path],
    unlabelled: Path,
    make_shards: Any,
    tiny_bert: Path,
    tmp_path: Path,
) -> None:
    _, one = teachers
    nothing = amix("label", unlabelled, unlabelled, tmp_path / "out")
    assert (nothing.exit_code, "is a cache of shards; RUN takes a run." in nothing.stderr) == (2, True)
    bare = shutil.copytree(one, tmp_path / "bare")
    shutil.rmtree(bare / "model")
    assert "bare: holds no model" in amix("label", bare, unlabelled, tmp_path / "out").stderr
    strange = make_shards([{"text": f"a {n} plot", "label": ("odd", "even")[n % 2]} for n in range(4)])
    train(strange, tmp_path / "strange", str(tiny_bert), TrainConfig(**{**FAST, "epochs": 1}))
    said = amix("label", one, tmp_path / "strange", unlabelled, tmp_path / "out").stderr
    assert "has the classes 'even', 'odd', " in said
    assert "has the classes 'bad', 'good'. Teachers must be trained on the same classes" in said
    tokenizer = tmp_path / "bare" / "model"
    shutil.copytree(one / "model", tokenizer)
    text = (tokenizer / "tokenizer.json").read_text()
    (tokenizer / "tokenizer.json").write_text(text.replace('"warm"', '"cold"'))
    assert "is not the one of" in amix("label", bare, unlabelled, tmp_path / "out").stderr
    assert not (tmp_path / "out").exists()


def test_several_labels_a_text_are_taught_one_by_one(
    make_shards: Any, unlabelled: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    rows = [{"text": f"film {n}", "label": [float(n % 2), float(n % 3 == 0), 0.0]} for n in range(12)]
    config = TrainConfig(**{**FAST, "epochs": 1})
    train(make_shards(rows), tmp_path / "run", str(tiny_bert), config)
    assert amix("label", tmp_path / "run", unlabelled, tmp_path / "out").exit_code == 0
    dataset = RelevanceDataset(tmp_path / "out")
    assert dataset.manifest.multi_label
    assert len(dataset.manifest.label_names or ()) == 3
    train(tmp_path / "out", tmp_path / "student", str(tiny_bert), config)
