"""Heads ranked by what they are made to point at, and by training; `--head auto`."""

import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray

from amix.cli import main
from amix.engine.base import canonical
from amix.engine.base.errors import ConfigError, TrainError, UsageError
from amix.loaders.shards.layout import Layout
from amix.loaders.shards.manifest import Manifest
from amix.loaders.shards.writer import Sample
from amix.loaders.stream.dataset import RelevanceDataset
from amix.study.attention.profile import ProfiledHead, agreement, profile_heads
from amix.study.attention.ranking import HeadRanking
from amix.study.compare.grid import Corpus, Grid
from amix.study.compare.outcome import Outcome
from amix.train.heads.proxy import RankedHead, _ridge, candidates, rank_heads
from amix.train.heads.ranking import Ranking, best_head
from amix.train.options.config import TrainConfig
from amix.train.run.result import TrainResult
from amix.train.run.train import train
from tests.loaders.forge import VOCABULARY, forge, layout_of

HEADS = 4
TELLING = 2  # position of the head that points at the one word which depends on the class
EMBEDDINGS = torch.randn(VOCABULARY, 16, generator=torch.Generator().manual_seed(0))


def telling_sample(row: int, tokens: int, layout: Layout) -> tuple[Sample, NDArray[np.float32]]:
    """A text of random words with one of three that say its class; one head looks there, the others do not."""
    rng = np.random.default_rng(row)
    label = row % 3
    ids = rng.integers(200, VOCABULARY, tokens)
    ids[0], ids[-1] = 101, 102
    place = int(rng.integers(1, tokens - 1))
    ids[place] = 150 + label
    relevance_HT = rng.random((layout.heads, tokens), np.float32) + np.float32(0.5)
    relevance_HT[TELLING, place] = 20.0
    relevance_HT[1, place] = 3.0  # a hint
    relevance_HT *= tokens / relevance_HT.sum(axis=1, keepdims=True)
    labels = tuple(float(each == label) for each in range(layout.classes)) if layout.classes else None
    return Sample(row=row, ids=ids, label=-1 if layout.classes else label, labels=labels), relevance_HT


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted") / "shards"
    lengths = np.random.default_rng(0).integers(6, 14, 150).tolist()
    return forge(folder, lengths, layout_of(heads=HEADS), make=telling_sample)


def test_the_head_that_points_at_the_telling_word_is_first(planted: Path) -> None:
    ranking = rank_heads(planted, EMBEDDINGS)
    heads = [each.head for each in ranking]
    assert sorted(heads) == sorted(["0.0", "0.1", "1.0", "1.1", "0.mean", "1.mean", "mean"])
    assert heads[0] == "1.0"
    assert ranking[0].separation > 0.8
    assert ranking[0].accuracy == 1.0
    score = {each.head: each.separation for each in ranking}
    assert score["0.1"] > score["0.0"] + 0.05  # a hint is better than none
    assert score["1.mean"] > score["1.1"] + 0.05
    assert [each.separation for each in ranking] == sorted(score.values(), reverse=True)


def test_heads_that_cannot_be_told_from_the_first_are_said_to_be(
    planted: Path, reviews: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    first, *others = rank_heads(planted, EMBEDDINGS)
    assert first.noise is None
    assert all(each.noise is not None and each.noise >= 0 for each in others)
    told = {each.head: each.is_told_from(first) for each in others}
    assert told["0.0"] is told["1.1"] is True  # they point at nothing
    assert RankedHead(head="0.0", separation=0.1, accuracy=None).is_told_from(first) is None

    arguments = ["select", reviews, tmp_path, "--model", tiny_bert]
    done = CliRunner().invoke(main, [str(each) for each in arguments])
    assert done.exit_code == 0, done.output
    assert "separation: the share of the labels' variance" in done.stderr
    assert "of the other 6 heads cannot be told from the first" in done.stderr
    assert "No classifier was trained." in done.stderr
    assert "no head was shown to be better than 0.mean" in done.stderr


def test_noise_shrinks_with_the_number_of_texts(planted: Path) -> None:
    texts = len(RelevanceDataset(planted))
    few, all_ = (
        rank_heads(planted, EMBEDDINGS, numbers, specs=["1.0", "0.1"])[1].noise
        for numbers in (np.arange(0, texts, 4), None)
    )
    assert few is not None and all_ is not None
    assert 1.3 < few / all_ < 3.0


def test_more_dimensions_than_texts_are_not_learnt_by_heart() -> None:
    # Directions of falling weight, as word embeddings have; the first two make the label, the rest is noise.
    rng = np.random.default_rng(0)
    features = rng.normal(size=(260, 300)) / np.arange(1, 301)
    labels = features[:, :1] + 2 * features[:, 1:2] + rng.normal(0, 0.5, (260, 1))
    predicted = _ridge(features[:60], labels[:60])(features[60:])
    explained = 1 - ((labels[60:] - predicted) ** 2).sum() / ((labels[60:] - labels[:60].mean()) ** 2).sum()
    best = 1 - 0.25 / (0.25 + 1 + 1)  # by who knows the two directions
    assert explained > best - 0.1


def test_labels_that_words_do_not_tell_separate_nothing(tmp_path: Path) -> None:
    def shuffled(row: int, tokens: int, layout: Layout) -> tuple[Sample, NDArray[np.float32]]:
        sample, relevance_HT = telling_sample(row, tokens, layout)
        label = int(np.random.default_rng(10_000 + row).integers(3))
        return Sample(row=row, ids=sample.ids, label=label), relevance_HT

    folder = forge(tmp_path / "x", [10] * 150, layout_of(heads=HEADS), make=shuffled)
    ranking = rank_heads(folder, EMBEDDINGS)
    assert max(each.separation for each in ranking) < 0.1  # held out: nothing to be had by learning by heart


def test_a_ranking_is_a_function_of_its_samples(planted: Path) -> None:
    numbers = np.arange(0, 150, 2)
    assert rank_heads(planted, EMBEDDINGS, numbers) == rank_heads(planted, EMBEDDINGS, numbers)
    assert rank_heads(planted, EMBEDDINGS, numbers) != rank_heads(planted, EMBEDDINGS, numbers + 1)
    (only,) = rank_heads(planted, EMBEDDINGS, specs=["0.1,1.0"])
    assert only.head == "0.1,1.0"


def test_several_labels_a_text(tmp_path: Path) -> None:
    layout = layout_of(heads=HEADS, classes=3)
    folder = forge(tmp_path / "x", [9] * 90, layout, make=telling_sample)
    first = rank_heads(folder, EMBEDDINGS)[0]
    assert (first.head, first.accuracy) == ("1.0", None)


def test_too_few_texts_or_classes_are_an_error(planted: Path) -> None:
    with pytest.raises(TrainError, match=r"9 texts of \d classes are too few to rank heads on 5 folds"):
        rank_heads(planted, EMBEDDINGS, np.arange(9))
    with pytest.raises(TrainError, match="of 1 class are too few"):
        rank_heads(planted, EMBEDDINGS, np.arange(0, 150, 3))


def test_the_ranking_is_kept_beside_the_cache(planted: Path) -> None:
    dataset, numbers = RelevanceDataset(planted, head=None), np.arange(100)
    best = best_head(planted, dataset, EMBEDDINGS, numbers)
    (stored,) = Path(f"{planted}.ranking").glob("*.json")
    # It carries its hash, and one that cannot be read is computed again.
    stored.write_bytes(stored.read_bytes().replace(b'"head":"1.0"', b'"head":"9.9"'))
    assert best_head(planted, dataset, EMBEDDINGS, numbers) == best
    document = {"identity": {}, "heads": [], "a field of another version": 1}
    stored.write_bytes(canonical.seal(document))
    with pytest.raises(TrainError, match=rf"{stored.name}: was written by another version"):
        Ranking.read(stored)
    assert best_head(planted, dataset, EMBEDDINGS, numbers) == best
    assert Ranking.read(stored).heads[0] == best
    before = stored.stat().st_mtime_ns
    assert best_head(planted, dataset, EMBEDDINGS, numbers) == best
    assert stored.stat().st_mtime_ns == before
    best_head(planted, dataset, EMBEDDINGS + 1, numbers)  # of another model
    assert len(list(stored.parent.glob("*.json"))) == 2


def test_a_ranking_that_cannot_be_kept_is_used_all_the_same(planted: Path, tmp_path: Path) -> None:
    cache, dataset = tmp_path / "cache", RelevanceDataset(planted, head=None)
    shutil.copytree(planted, cache)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))  # as a full disk
    try:
        best = best_head(cache, dataset, EMBEDDINGS, np.arange(100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert best == best_head(planted, dataset, EMBEDDINGS, np.arange(100))
    assert not list(Path(f"{cache}.ranking").iterdir())


def test_candidates_are_heads_and_means() -> None:
    assert candidates([(0, 8)]) == ["0.8"]
    assert candidates([(0, 8), (1, 2), (1, 3)]) == ["0.8", "1.2", "1.3", "1.mean", "mean"]


def test_auto_trains_with_the_first(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"lr": 3e-3, "batch_size": 8, "epochs": 1, "device": "cpu", "samples": 30}
    result = train(reviews, tmp_path / "auto", str(tiny_bert), TrainConfig(head="auto", **options))
    assert result.head is not None
    train(reviews, tmp_path / "named", str(tiny_bert), TrainConfig(head=result.head, **options))
    logs = [(tmp_path / name / "metrics.jsonl").read_bytes().splitlines() for name in ("auto", "named")]
    assert logs[0][1:] == logs[1]
    assert json.loads(logs[0][0]) == {"epoch": 0, "head": result.head, "kind": "head", "step": 0}
    with pytest.raises(ConfigError, match="head is auto; relevance_source online has no cache"):
        TrainConfig(head="auto", relevance_source="online")


def test_halving_gives_the_better_heads_more_seeds(
    reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    corpus = Corpus(train=str(reviews), dev=str(held_out))
    specs = ["0.0", "0.1", "1.0", "1.1"]
    options = {"lr": 3e-3, "batch_size": 8, "epochs": 1, "device": "cpu"}
    ranking = profile_heads(
        str(tiny_bert), corpus, specs, tmp_path / "out", budget=8, samples=16, options=options
    )
    assert sorted(each.head for each in ranking) == specs
    assert {json.loads(path.read_text())["identity"]["p"] for path in tmp_path.rglob("result.json")} == {0.5}
    assert [each.seeds for each in ranking] == [3, 3, 1, 1]
    assert ranking[0].nll <= ranking[1].nll
    assert ranking[2].nll <= ranking[3].nll
    runs = list((tmp_path / "out").rglob("result.json"))
    assert len(runs) == 2 * 3 + 2 * 1
    with pytest.raises(UsageError, match="4 heads need at least one run each"):
        profile_heads(str(tiny_bert), corpus, specs, tmp_path / "x", budget=3)
    with pytest.raises(UsageError, match="needs --dev"):
        profile_heads(str(tiny_bert), Corpus(train=str(reviews)), specs, tmp_path / "x", budget=9)


def test_the_command_writes_the_ranking(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    arguments = ["select", reviews, tmp_path / "out", "--model", tiny_bert, "--json"]
    done = CliRunner().invoke(main, [str(each) for each in arguments])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout.splitlines()[-1])
    stored = HeadRanking.read(tmp_path / "out")
    assert said == {"best": stored.heads[0].head, **stored.as_dict()}
    assert stored.shards == Manifest.read(reviews).sha256
    assert (stored.model, stored.samples, stored.agreement) == (str(tiny_bert), None, None)
    scores = [each.separation for each in stored.heads if isinstance(each, RankedHead)]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 4 + 2 + 1
    for more, says in (
        (["--epochs", "3"], "--epochs is for training; it needs --budget"),
        (["--jobs", "2"], "--jobs is for training; it needs --budget"),
        (
            ["--budget", "9", "--subset-seed", "1"],
            "--subset-seed has no effect with --budget: the seed of a run draws its texts",
        ),
        (["--heads", "0.0|0.1,1.mean"], "--heads '0.0|0.1,1.mean': '0.0|0.1' is not understood"),
        (["--heads", "auto"], "--heads 'auto': 'auto' is not understood"),
    ):
        done = CliRunner().invoke(main, [*map(str, arguments), *more])
        assert (done.exit_code, says in done.stderr) == (2, True), done.stderr


def test_a_profile_says_how_far_the_proxy_agrees(
    planted: Path, reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    proxy = [each.head for each in rank_heads(planted, EMBEDDINGS)]
    for order, says in ((proxy, 1.0), (proxy[::-1], -1.0)):
        profile = [ProfiledHead(head=head, nll=0.0, accuracy=0.0, seeds=3) for head in order]
        assert agreement(profile, planted, EMBEDDINGS, None) == pytest.approx(says)

    options = ["--model", tiny_bert, "--dev", held_out, "--heads", "0.0,0.1,1.mean", "--json"]
    options += ["--budget", 3, "--epochs", 1, "--batch-size", 8]
    for samples, agrees in ((16, True), (8, False)):  # 8 texts can be trained on, and are too few for 5 folds
        arguments = ["select", reviews, tmp_path / f"{samples}", *options, "--samples", samples]
        done = CliRunner().invoke(main, [str(each) for each in arguments])
        assert done.exit_code == 0, done.output
        said = json.loads(done.stdout.splitlines()[-1])
        assert sorted(each["head"] for each in said["heads"]) == ["0.0", "0.1", "1.mean"]
        assert ("agreement" in said) == agrees
        assert ("8 texts of 2 classes are too few to rank heads" in done.stderr) != agrees
    profiled = HeadRanking.read(tmp_path / "16")
    assert profiled.samples == 16
    agrees_by = np.arange(-1, 1.1, 0.5)  # what Spearman's correlation of three heads without ties can be
    assert np.abs(agrees_by - (profiled.agreement or 0.0)).min() < 1e-6
    assert all(isinstance(each, ProfiledHead) and each.seeds == 1 for each in profiled.heads)


def test_a_layer_and_all_stand_for_their_heads(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    found = {}
    for heads in ("1", "all,0.mean", "1.mean,1.0"):
        arguments = ["select", reviews, tmp_path / heads, "--model", tiny_bert, "--heads", heads]
        done = CliRunner().invoke(main, [str(each) for each in arguments])
        assert done.exit_code == 0, done.output
        found[heads] = sorted(each.head for each in HeadRanking.read(tmp_path / heads).heads)
    assert found == {
        "1": ["1.0", "1.1"],
        "all,0.mean": ["0.0", "0.1", "0.mean", "1.0", "1.1"],
        "1.mean,1.0": ["1.0", "1.mean"],
    }


def test_a_damaged_ranking_is_refused(tmp_path: Path) -> None:
    for text in ("{", "[]", "{}", '{"shards": "", "model": "", "samples": null, "heads": [{}]}'):
        (tmp_path / "ranking.json").write_text(text)
        with pytest.raises(TrainError, match=r"ranking\.json: cannot be read .* Run 'amix select' again"):
            HeadRanking.read(tmp_path)


def test_a_cache_without_labels_ranks_nothing(
    make_shards: Callable[..., Path], review_rows: list[dict[str, Any]]
) -> None:
    with pytest.raises(TrainError, match="holds no labels"):
        rank_heads(make_shards(review_rows[:20], no_labels=True), EMBEDDINGS)


@pytest.mark.parametrize(("heads", "budget"), [(3, 30), (5, 40), (79, 790)])
def test_halving_ends_with_two_heads_at_least(
    heads: int, budget: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[tuple[int, int]] = []

    result = TrainResult(
        model=tmp_path,
        eval={},
        dev={"nll": 1.0, "accuracy": 0.5},
        calibration={},
        temperature=None,
        scaled={},
        head=None,
        largest_p=None,
        epoch=1,
        steps=1,
        tokens=1,
        seconds=1.0,
    )

    def counted(grid: Grid, *_: object, **__: object) -> list[Outcome]:
        rounds.append((len(grid.methods), len(grid.seeds)))
        return [Outcome(cell=cell, folder=tmp_path, result=result) for cell in grid.cells()]

    monkeypatch.setattr("amix.study.attention.profile.run_grid", counted)
    specs = [f"0.{head}" for head in range(heads)]
    profile_heads("model", Corpus(train="x", dev="y"), specs, tmp_path, budget=budget)
    assert rounds[-1][0] == 2
    seeds = [0, *(each for _, each in rounds)]
    spent = sum(left * (now - then) for (left, now), then in zip(rounds, seeds, strict=False))
    assert budget * 0.7 < spent <= budget
