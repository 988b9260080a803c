"""Cross-validation: every training text is judged by a model that never saw it, and all train the one that is kept."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amix.engine.base.errors import UsageError
from amix.loaders.stream.dataset import RelevanceDataset
from amix.train.objective.mixers import followed
from amix.train.options.config import TrainConfig
from amix.train.run import folds as folds_module
from amix.train.run import loop
from amix.train.run.data.subset import deal_folds, draw_subset
from amix.train.run.folds import Fold
from amix.train.run.train import train
from amix.train.score.evaluate import Predictions

FAST: dict[str, Any] = {"lr": 5e-3, "batch_size": 8, "epochs": 3, "device": "cpu", "samples": 30}


def dev_lines(run: Path) -> list[dict[str, Any]]:  # JSON
    found = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line for line in found if line.get("kind") == "dev"]


def fold_of_each(reviews: Path, count: int) -> tuple[Any, Any]:
    drawn = draw_subset(40, 30, 0, reviews)
    assert drawn is not None
    return drawn, deal_folds(RelevanceDataset(reviews).class_ids()[drawn], ("bad", "good"), count, 0)


def test_all_texts_train_and_each_is_judged_without_it(
    reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    config = TrainConfig(**{**FAST, "p": 0.5, "epochs": 2})
    run, evals = tmp_path / "run", [("eval", held_out)]
    result = train(reviews, run, str(tiny_bert), config, dev="cv:2", evals=evals)
    plain = train(reviews, tmp_path / "plain", str(tiny_bert), config, evals=evals)
    assert result.eval == plain.eval  # which ends with its last epoch, too
    assert (result.epoch, result.model) == (2, run / "model")
    assert result.steps == plain.steps + 2 * 2 * 2  # two folds, two epochs, batches of 8 of 15 texts
    assert result.tokens > 1.8 * plain.tokens

    kept = Predictions.load(run / "predictions" / "dev.safetensors")
    drawn, fold = fold_of_each(reviews, 2)
    assert kept.rows.tolist() == drawn.tolist()
    assert result.dev == kept.report()
    assert result.temperature == pytest.approx(kept.temperature())
    assert result.scaled.keys() == {"eval"}
    assert [line["epoch"] for line in dev_lines(run)] == [1, 2]
    assert dev_lines(run)[-1]["nll"] == kept.report()["nll"]

    # A fold is what a run without its texts says of them.
    monkeyed = tmp_path / "by-hand"
    rest = drawn[fold != 1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("amix.train.run.data.sets.draw_subset", lambda *_: rest)
        train(reviews, monkeyed, str(tiny_bert), config, evals=[("all", reviews)])
    by_hand = Predictions.load(monkeyed / "predictions" / "eval-all.safetensors")
    assert np.allclose(by_hand.logits_NC[drawn[fold == 1]], kept.logits_NC[fold == 1], atol=1e-5)


def test_p_follows_the_gap_of_all_folds_together(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    config = TrainConfig(**{**FAST, "epochs": 4, "lr": 1e-2})
    seen: list[float | None] = []
    original = loop.Run.train_epoch

    def watched(run: loop.Run, *arguments: Any) -> None:
        seen.append(run.at.p)
        original(run, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Run, "train_epoch", watched)
        result = train(reviews, tmp_path / "run", str(tiny_bert), config, dev="cv:3")
    by_epoch, final = np.array(seen[:12], float).reshape(4, 3), seen[12:]
    assert (by_epoch == by_epoch[:, :1]).all()  # the folds go side by side
    assert by_epoch[:, 0].tolist() == final  # and the model of all texts is mixed as often as they were
    assert result.largest_p
    assert result.largest_p == max(p for p in final if p is not None)
    assert [line["p"] for line in dev_lines(tmp_path / "run")][:3] == final[1:]

    folds = [Fold.load(path, _key_of(path)) for path in sorted((tmp_path / "run" / "folds").iterdir())]
    p = 0.0
    for epoch in range(3):
        parts = [list(fold.epochs())[epoch] for fold in folds if fold is not None]
        p = followed(p, folds_module.pooled(parts).confidence_gap())
        assert p == final[epoch + 1]


def _key_of(path: Path) -> str:
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        return str(file.metadata()["key"])


@pytest.mark.parametrize(("p", "left"), [(0.5, 2), ("auto", 4)])
def test_finished_folds_are_not_trained_again(
    p: Any, left: int, reviews: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    config = TrainConfig(**{**FAST, "p": p, "checkpoint_steps": 4, "epochs": 2})
    whole = train(reviews, tmp_path / "whole", str(tiny_bert), config, dev="cv:2")

    class Stop(Exception):
        pass

    trained: list[int] = []
    original = loop.Run.train_epoch

    def stopping(run: loop.Run, *arguments: Any) -> None:
        original(run, *arguments)
        trained.append(run.steps)
        if len(trained) == stop_after:
            raise Stop

    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Run, "train_epoch", stopping)
        stop_after = 3  # in the second fold; where p is auto, in the second epoch of both
        with pytest.raises(Stop):
            train(reviews, run, str(tiny_bert), config, dev="cv:2")
        trained.clear()
        stop_after = left + 2  # in the second epoch of the last model
        with pytest.raises(Stop):
            train(reviews, run, str(tiny_bert), config, dev="cv:2", resume=True)
        assert len(list((run / "folds").iterdir())) == 2
        trained.clear()
        stop_after = 99
        result = train(reviews, run, str(tiny_bert), config, dev="cv:2", resume=True)
        assert len(trained) <= 2
    assert replace(result, seconds=0, model=None) == replace(whole, seconds=0, model=None)
    for name in ("model/model.safetensors", "metrics.jsonl", "predictions/dev.safetensors"):
        assert (run / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_folds_of_another_run_are_not_taken(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    run, config = tmp_path / "run", TrainConfig(**{**FAST, "method": "none", "epochs": 1})
    expected = train(reviews, tmp_path / "plain", str(tiny_bert), replace(config, seed=1), dev="cv:2")
    train(reviews, run, str(tiny_bert), config, dev="cv:2")
    (run / "model").rename(tmp_path / "model")  # as if it had been stopped
    result = train(reviews, run, str(tiny_bert), replace(config, seed=1), dev="cv:2", resume=True)
    assert result.dev == expected.dev


def test_rare_classes_are_named_and_never_missing_from_a_training(
    make_shards: Any, tiny_bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["bad"] * 6 + ["good"] * 6 + ["rare"] * 2 + ["once"]
    shards = make_shards([{"text": f"film {number}", "label": name} for number, name in enumerate(names)])
    config = TrainConfig(**{**FAST, "samples": None, "epochs": 1, "method": "none"})
    trained: list[set[int]] = []
    original = loop.Run.train_epoch

    def watched(run: loop.Run, *arguments: Any) -> None:
        subset = run.loader._subset
        trained.append(set(range(15)) if subset is None else set(subset.tolist()))
        original(run, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Run, "train_epoch", watched)
        train(shards, tmp_path / "run", str(tiny_bert), config, dev="cv:5")
    assert len(trained) == 6
    assert all(14 in texts and {12, 13} & texts for texts in trained)
    kept = Predictions.load(tmp_path / "run" / "predictions" / "dev.safetensors")
    assert kept.rows.tolist() == list(range(14))
    assert "fewer training texts than folds, 1 of 'once', 2 of 'rare'" in caplog.text

    with pytest.raises(UsageError, match=r"cv:7 needs 7 .* there are 6 of 'bad', .* 2 of 'rare'\. Use fewer"):
        train(shards, tmp_path / "other", str(tiny_bert), config, dev="cv:7")
    assert not (tmp_path / "other").exists()


def test_what_needs_an_epoch_to_be_selected_is_refused(
    reviews: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="patience cannot be used with --dev cv:5"):
        train(reviews, tmp_path / "run", str(tiny_bert), TrainConfig(**FAST, patience=1), dev="cv:5")


@pytest.mark.parametrize("counts", [(10, 10), (13, 7), (5, 6, 22)])
def test_folds_are_alike(counts: tuple[int, ...]) -> None:
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    fold = deal_folds(labels, "abc", 5, 0)
    sizes = np.bincount(fold)
    assert len(sizes) == 5
    assert sizes.max() - sizes.min() <= 1
    for number in range(len(counts)):
        of_class = np.bincount(fold[labels == number], minlength=5)
        assert of_class.max() - of_class.min() <= 1
    assert fold.tolist() != deal_folds(labels, "abc", 5, 1).tolist()


def test_texts_with_several_labels_are_dealt_out_too(
    make_shards: Any, tiny_bert: Path, tmp_path: Path
) -> None:
    rows = [{"text": f"film {n}", "label": [float(n % 2), float(n % 3 == 0)]} for n in range(12)]
    config = TrainConfig(**{**FAST, "samples": None, "epochs": 1})
    shards = make_shards(rows)
    result = train(shards, tmp_path / "run", str(tiny_bert), config, dev="cv:3")
    assert len(Predictions.load(tmp_path / "run" / "predictions" / "dev.safetensors").rows) == 12
    assert result.temperature is not None
    with pytest.raises(UsageError, match=r"cv:13 needs 13 training texts .* but there are 12"):
        train(shards, tmp_path / "other", str(tiny_bert), config, dev="cv:13")
