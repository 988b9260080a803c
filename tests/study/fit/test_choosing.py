"""What helps a corpus: who is tried on which fold, how sure that makes, and what it says."""

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amix.engine.base.errors import TrainError, UsageError
from amix.loaders.stream.dataset import RelevanceDataset
from amix.study.fit import choosing
from amix.study.fit.budget import budget_text, parse_budget
from amix.study.fit.choice import Choice, concluded
from amix.study.fit.choosing import choose
from amix.study.fit.halving import MIXERS, Trial, differences, halve, spent
from amix.study.fit.interval import fold_interval, t_quantile
from amix.train.options.config import TrainConfig
from amix.train.options.dev import Folds
from amix.train.options.methods import Method
from amix.train.run.data.subset import deal_folds
from amix.train.run.trial import FoldResult, TooSlowError, train_fold
from amix.train.score.evaluate import Predictions

# How much better than none each method is, and how much that differs from fold to fold.
GAINS = {
    "none": 0.0,
    "attentionmix": 0.1,
    "wordmixup": 0.2,
    "tmix": -0.1,
    "sentencemixup": 0.0,
    "ssmix": -0.2,
}


def trial_of(method: Method, unit: int, noise: float = 0.02, seconds: float = 1.0) -> Trial:
    seed = np.random.SeedSequence((list(GAINS).index(method), unit))
    nll = 0.8 - GAINS[method] + noise * float(np.random.default_rng(seed).normal())
    return Trial(method=method, unit=unit, nll=nll, accuracy=0.7, seconds=seconds)


@pytest.mark.parametrize("budget", [20.0, 30.0, 60.0])
def test_the_better_half_is_kept_within_the_budget(budget: float) -> None:
    found = halve(trial_of, budget)
    assert set(found) == {"none", *MIXERS}
    assert spent(found) <= budget
    folds = {method: len(trials) for method, trials in found.items()}
    assert folds["none"] == folds["wordmixup"] == max(folds.values()) >= 5  # the best one, to the end
    assert folds["ssmix"] == folds["tmix"] == min(folds.values())
    for method, trials in found.items():
        assert [each.unit for each in trials] == list(range(folds[method]))  # paired with none
        assert statistics.mean(differences(found, method)) == pytest.approx(-GAINS[method], abs=0.05)


def test_a_small_budget_is_for_fewer_methods_and_a_large_one_is_not_used_up() -> None:
    few = halve(trial_of, 10.0)
    assert {method: len(trials) for method, trials in few.items()} == {"none": 5, "attentionmix": 5}
    many = halve(trial_of, 10_000.0)
    assert max(len(trials) for trials in many.values()) == 20


def test_the_interval_is_wider_than_that_of_independent_draws() -> None:
    for share, freedom, value in (
        (0.975, 1, 12.706),
        (0.975, 4, 2.776),
        (0.995, 9, 3.250),
        (0.975, 100, 1.984),
    ):
        assert t_quantile(share, freedom) == pytest.approx(value, abs=1e-3)
    draws = [0.1, 0.3, 0.2, 0.4, 0.0]
    low, high = fold_interval(draws, 5, 0.95)
    assert (low + high) / 2 == pytest.approx(0.2)
    plain = 2.776 * statistics.stdev(draws) / 5**0.5
    assert (high - low) / 2 == pytest.approx(plain * (1 + 5 / 4) ** 0.5, rel=1e-3)


def test_chance_alone_is_seldom_taken_for_a_gain() -> None:
    """In a world where no method helps, and all trainings of a fold share its difficulty."""
    taken = 0
    for world in range(100):
        rng = np.random.default_rng(world)

        def trial(method: Method, unit: int, rng: np.random.Generator = rng) -> Trial:
            return Trial(method=method, unit=unit, nll=0.6 + 0.1 * rng.normal(), accuracy=0.7, seconds=1.0)

        taken += concluded(halve(trial, 30.0), 0.5).method != "none"
    assert taken <= 5


def test_what_helps_is_used_and_said_in_plain_words(tmp_path: Path) -> None:
    choice = concluded(halve(trial_of, 40.0), 0.5)
    assert (choice.method, choice.p) == ("wordmixup", 0.5)
    assert choice.sentence.startswith(
        "wordmixup helps this data: of texts that a model had not seen, it gave the right answer a probability of 54 "
        "%, where plain fine-tuning gave it 45 %, and chance does not explain so much (13 folds). So it is used."
    )
    best, *_, plain = choice.tried
    assert (best.method, plain.method, plain.difference) == ("wordmixup", "none", None)
    assert best.low is not None and best.high is not None and best.difference is not None
    assert best.low < best.difference < best.high < 0
    choice.write(tmp_path / "choice.json")
    assert Choice.read(tmp_path / "choice.json") == choice
    (tmp_path / "choice.json").write_bytes((tmp_path / "choice.json").read_bytes().replace(b"0.5", b"0.6", 1))
    with pytest.raises(TrainError, match="does not match its own sha256"):
        Choice.read(tmp_path / "choice.json")


def test_without_a_clear_gain_nothing_is_mixed() -> None:
    choice = concluded(halve(lambda method, unit: trial_of(method, unit, noise=0.5), 30.0), 0.5)
    assert (choice.method, choice.p) == ("none", None)
    assert choice.sentence.startswith(
        "No way of mixing helped this data more than chance explains. The best of them, "
    )
    assert choice.sentence.endswith("So nothing is mixed.")


Fold = Callable[..., FoldResult]


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """Have `choose` pretend its trainings, and return the (method, fold, seed) of each."""
    done: list[tuple[str, int, int]] = []

    def fold(_: Path, __: str, config: TrainConfig, folds: Folds, number: int, limit: float) -> FoldResult:
        assert config.p == (None if config.method == "none" else 0.5)
        assert config.seed == config.subset_seed + 3
        done.append((config.method, number, config.subset_seed))
        # It is between the logits of the right class and the other one.
        gap = GAINS[config.method] * 10 + number / 100
        truth = np.array([0, 1])
        logits = np.where(truth[:, None] == np.arange(2), gap, 0.0)
        said = Predictions(logits_NC=logits, truth=truth, rows=np.arange(2), multi_label=False)
        return FoldResult(predictions=said, seconds=1.0)

    monkeypatch.setattr(choosing, "train_fold", fold)
    return done


class AllUsable:
    """A `Checker` that finds nothing wrong."""

    def __init__(self, *_: object) -> None: ...

    def check(self, config: TrainConfig, dev: str | None) -> int:
        return 0


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "Checker", AllUsable)


@pytest.mark.usefixtures("unchecked")
def test_a_choice_that_was_stopped_goes_on(pretended: list[tuple[str, int, int]], tmp_path: Path) -> None:
    config = TrainConfig(epochs=1, seed=3)
    whole = choose(tmp_path, "model", config, 40.0, tmp_path / "whole.json")
    trials, path = list(pretended), tmp_path / "choice.json"
    assert whole.method == "wordmixup"
    assert trials[5:7] == [("ssmix", 0, 0), ("none", 1, 0)]
    assert {(unit, deal) for _, unit, deal in trials} >= {(4, 0), (0, 1)}  # after five folds, another deal
    pretended.clear()

    def stop(_: str) -> None:
        if len(pretended) == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        choose(tmp_path, "model", config, 40.0, path, stop)
    assert (Choice.read(path).is_final, len(Choice.read(path).trials)) == (False, 8)
    assert choose(tmp_path, "model", config, 40.0, path) == whole
    assert pretended == trials
    assert choose(tmp_path, "model", config, 40.0, path) == whole  # and is not made again
    assert pretended == trials


def test_methods_that_the_model_cannot_be_mixed_by_are_left_out(
    pretended: list[tuple[str, int, int]], reviews: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    config = TrainConfig(epochs=1, seed=3, layers="9", level="hidden:9", device="cpu")
    choice = choose(reviews, str(tiny_bert), config, 20.0, tmp_path / "choice.json", told.append)
    left_out = [line for line in told if "is left out" in line]
    assert [line.split()[0] for line in left_out] == ["attentionmix", "tmix"]
    assert "BertForSequenceClassification has 2 layers" in left_out[0]
    assert {each.method for each in choice.tried} == {"none", "wordmixup", "sentencemixup", "ssmix"}
    alone = TrainConfig(epochs=1, batch_size=1, device="cpu")
    choice = choose(reviews, str(tiny_bert), alone, 20.0, tmp_path / "none.json")
    assert choice == Choice(method="none", sentence="No method can mix with this model and these options.")


@pytest.mark.usefixtures("unchecked")
def test_a_budget_that_is_too_short_is_said_with_what_would_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def slow(*_: object) -> FoldResult:
        raise TooSlowError(600.0)

    monkeypatch.setattr(choosing, "train_fold", slow)
    choice = choose(tmp_path, "model", TrainConfig(), 1_200.0, tmp_path / "choice.json")
    assert choice.method == "none"
    assert choice.sentence == (
        "--budget 20m is too short to compare anything: a training takes about 10m, and at least 10 are needed. So "
        "nothing is mixed. Give --budget 120m, or train on fewer texts (--samples)."
    )
    assert Choice.read(tmp_path / "choice.json") == choice


def test_a_fold_is_judged_by_a_model_that_was_trained_without_it(reviews: Path, tiny_bert: Path) -> None:
    config = TrainConfig(
        method="wordmixup", p=0.5, epochs=2, batch_size=8, lr=3e-3, device="cpu", subset_seed=1
    )
    found = train_fold(reviews, str(tiny_bert), config, Folds(5), 3, limit=1e9)
    dataset = RelevanceDataset(reviews)
    fold = deal_folds(dataset.class_ids(), dataset.label_names or (), 5, 1)
    assert found.predictions.rows.tolist() == np.flatnonzero(fold == 3).tolist()
    assert found.seconds > 0
    with pytest.raises(TooSlowError) as slow:
        train_fold(reviews, str(tiny_bert), config, Folds(5), 3, limit=1e-9)
    assert slow.value.seconds > 1e-9


@pytest.mark.parametrize(("text", "seconds"), [("20m", 1200), ("1h30m", 5400), ("90s", 90), ("2h", 7200)])
def test_a_budget_is_a_time(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds
    assert parse_budget(budget_text(seconds)) >= seconds


@pytest.mark.parametrize("text", ["20", "", "m", "20 minutes", "0m", "-5m"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time"):
        parse_budget(text)


def test_the_choice_is_kept_with_the_run(
    pretended: list[tuple[str, int, int]], reviews: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    from click.testing import CliRunner

    from amix.cli import main

    corpus, out = tmp_path / "train.jsonl", tmp_path / "out"
    corpus.write_text(
        "".join(json.dumps({"text": f"film {i}", "label": f"kind {i % 2}"}) + "\n" for i in range(20))
    )
    words = [
        corpus,
        out,
        "--model",
        tiny_bert,
        "--method",
        "auto",
        "--budget",
        "40s",
        "--epochs",
        1,
        "--seed",
        3,
    ]
    words += ["--batch-size", 8, "--device", "cpu", "--dev", "none"]
    done = CliRunner().invoke(main, ["fit", *map(str, words)])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["method", "folds", "accuracy"]
    assert lines[1].split()[0] == "wordmixup"
    assert "wordmixup helps this data: of texts that a model had not seen" in done.stdout
    assert "mixed with a probability of 50 %" in done.stdout
    assert "--method wordmixup --p 0.5" in lines[-1]
    assert Choice.read(out / "run" / "choice.json").method == "wordmixup"
    assert "3/5 choose: what helps this data, in 40s" in done.stderr
    refused = CliRunner().invoke(main, ["fit", *map(str, words), "--budget", "50s"])
    assert "--budget was '40s', is '50s'" in refused.stderr
    odd: Any = CliRunner().invoke(main, ["fit", str(corpus), str(out), "--budget", "50s"])
    assert (odd.exit_code, "--budget 50s is for --method auto" in odd.stderr) == (2, True)
