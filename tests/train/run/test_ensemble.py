"""Ensembles: several models in one folder, judged by the mean of their probabilities."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amix.engine.base.errors import ConfigError, UsageError
from amix.train.options.config import TrainConfig
from amix.train.run import loop
from amix.train.run.ensemble import member_seed
from amix.train.run.folder import load_predictions
from amix.train.run.log import ScoreLine, read_log
from amix.train.run.result import TrainResult
from amix.train.run.train import train
from amix.train.score.ensemble import mean_of, temperature_of
from amix.train.score.evaluate import Predictions
from amix.train.score.metrics import log_softmax
from amix.train.score.temperature import fit_temperature, targets

FAST: dict[str, Any] = {"lr": 5e-3, "batch_size": 8, "epochs": 1, "device": "cpu", "samples": 24, "p": 0.5}


def some(seed: int, texts: int = 50, classes: int = 3, *, multi_label: bool = False) -> Predictions:
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(99).integers(0, classes, texts)
    logits = 2 * rng.normal(size=(texts, classes)) + 2 * np.eye(classes)[truth]
    weights: Any = np.eye(classes)[truth] if multi_label else truth
    return Predictions(logits_NC=logits, truth=weights, rows=np.arange(texts), multi_label=multi_label)


def test_probabilities_are_averaged() -> None:
    members = [some(seed) for seed in range(3)]
    for temperature in (1.0, 2.5):
        expected = np.mean([np.exp(log_softmax(each.logits_NC / temperature)) for each in members], axis=0)
        found = mean_of(members, temperature)
        assert np.allclose(np.exp(log_softmax(found.logits_NC)), expected)
        assert np.allclose(np.exp(found.logits_NC), expected)
    certain = replace(members[0], logits_NC=np.array([[0.0, 2000.0, -2000.0]] * 50))
    assert np.isfinite(mean_of([certain, certain]).logits_NC).all()
    assert np.allclose(log_softmax(mean_of([some(1), some(1)]).logits_NC), log_softmax(some(1).logits_NC))


def test_odds_are_those_of_the_mean_where_texts_have_several_labels() -> None:
    members = [some(seed, multi_label=True) for seed in range(2)]
    expected = np.mean([1 / (1 + np.exp(-each.logits_NC)) for each in members], axis=0)
    assert np.allclose(1 / (1 + np.exp(-mean_of(members).logits_NC)), expected)
    assert temperature_of(members)


def test_the_temperature_of_an_ensemble_divides_the_logits_of_each_model() -> None:
    members = [some(seed) for seed in range(3)]
    best = temperature_of(members)
    assert best is not None

    def at(temperature: float) -> float:
        log_prob_NC = log_softmax(mean_of(members, temperature).logits_NC)
        return -float((targets(members[0].truth, log_prob_NC.shape[1]) * log_prob_NC).sum())

    assert all(at(best) <= at(best * factor) for factor in (0.9, 0.99, 1.01, 1.1))
    assert temperature_of(members[:1]) == fit_temperature(members[0].logits_NC, members[0].truth)
    assert temperature_of([some(1), some(1)]) == pytest.approx(some(1).temperature())
    # A model that has seen the texts does not count.
    assert temperature_of([some(1), None]) == some(1).temperature()
    assert temperature_of([None, None]) is None


def test_models_of_several_seeds_are_judged_together(
    reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification

    run, evals = tmp_path / "run", [("test", held_out)]
    config = TrainConfig(**FAST, ensemble=3)
    result = train(reviews, run, str(tiny_bert), config, dev="0.25", evals=evals)
    alone = train(reviews, tmp_path / "alone", str(tiny_bert), replace(config, ensemble=None), "0.25", evals)
    assert result.eval == alone.eval  # `model/` is what it would be by itself
    assert result.steps == 3 * alone.steps
    assert alone.ensemble is None
    assert result.ensemble is not None
    assert result.ensemble.models == 3

    folders = [run, run / "ensemble" / "1", run / "ensemble" / "2"]
    found = [load_predictions(folder, ["test"]) for folder in folders]
    members, on_dev = [on_evals["test"] for on_evals, _ in found], [dev for _, dev in found if dev]
    assert len({each.logits_NC.tobytes() for each in members}) == 3
    assert len({each.rows.tobytes() for each in on_dev}) == 1  # all leave the same texts out
    assert result.ensemble.eval["test"] == mean_of(members).report()
    temperature = temperature_of(on_dev)
    assert temperature
    assert result.ensemble.temperature == temperature
    assert result.ensemble.scaled["test"] == mean_of(members, temperature).calibration()
    kept = Predictions.load(run / "predictions" / "ensemble-test.safetensors")
    assert np.allclose(kept.logits_NC, mean_of(members).logits_NC, atol=1e-5)
    for folder in folders:
        AutoModelForSequenceClassification.from_pretrained(folder / "model")
    lines = [line for line in read_log(run / "metrics.jsonl") if isinstance(line, ScoreLine)]
    (logged,) = [line for line in lines if line.kind == "ensemble"]
    assert (logged.name, logged.metrics) == ("test", result.ensemble.eval["test"])
    assert TrainResult.from_dict(result.as_dict()) == result

    second = replace(config, ensemble=None, seed=member_seed(0, 1))
    by_hand = train(reviews, tmp_path / "second", str(tiny_bert), second, "0.25", evals)
    assert by_hand.eval["test"] == members[1].report()


def test_models_of_folds_are_judged_together_with_that_of_all_texts(
    reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    run, evals = tmp_path / "run", [("test", held_out)]
    config = TrainConfig(**FAST, ensemble="folds", method="none")
    result = train(reviews, run, str(tiny_bert), config, dev="cv:2", evals=evals)
    assert result.ensemble is not None
    assert result.ensemble.models == 3
    assert result.ensemble.temperature == result.temperature  # no text is new to all three
    members = [load_predictions(each, ["test"])[0]["test"] for each in (run, *(run / "ensemble").iterdir())]
    assert result.ensemble.eval["test"]["nll"] == pytest.approx(mean_of(members).report()["nll"])
    alone = train(reviews, tmp_path / "alone", str(tiny_bert), replace(config, ensemble=None), "cv:2", evals)
    assert (alone.steps, alone.tokens) == (result.steps, result.tokens)


def test_finished_models_are_not_trained_again(
    reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    config, evals = TrainConfig(**FAST, ensemble=3), [("test", held_out)]
    whole = train(reviews, tmp_path / "whole", str(tiny_bert), config, evals=evals)
    trained: list[int] = []
    original = loop.Run.train_epoch

    class Stop(Exception):
        pass

    def counting(run: loop.Run, *arguments: Any) -> None:
        trained.append(run.config.seed)
        if len(trained) == 3:
            raise Stop
        original(run, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Run, "train_epoch", counting)
        with pytest.raises(Stop):
            train(reviews, tmp_path / "run", str(tiny_bert), config, evals=evals)
        assert trained == [member_seed(0, 1), member_seed(0, 2), 0]
        # It is of other settings.
        shutil.copytree(tmp_path / "run" / "ensemble" / "1", tmp_path / "run" / "ensemble" / "3")
        trained.clear()
        result = train(reviews, tmp_path / "run", str(tiny_bert), config, evals=evals, resume=True)
        assert trained == [0]
    assert sorted(path.name for path in (tmp_path / "run" / "ensemble").iterdir()) == ["1", "2"]
    assert replace(result, seconds=0, model=None) == replace(whole, seconds=0, model=None)


def test_what_makes_no_ensemble_is_refused(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ensemble folds needs --dev cv:K"):
        train(reviews, tmp_path / "run", str(tiny_bert), TrainConfig(**FAST, ensemble="folds"), dev="0.2")
    wrong: Any
    for wrong in (1, 2.5, "fold"):
        with pytest.raises(
            ConfigError, match=r"ensemble is .*; it must be folds, or a whole number, at least 2"
        ):
            TrainConfig(ensemble=wrong)
