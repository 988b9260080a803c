"""Labels that are made wrong for an experiment: which, into what, and that nothing else is touched."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from amix.engine.base.errors import UsageError
from amix.train.options.config import NoiseKind, TrainConfig
from amix.train.options.dev import Share
from amix.train.run.data.noise import noisy_labels
from amix.train.run.data.sets import open_sets
from amix.train.run.train import train
from tests.conftest import MakeShards

FAST: dict[str, Any] = {"lr": 3e-3, "batch_size": 8, "epochs": 1, "device": "cpu"}
KINDS: tuple[NoiseKind, ...] = get_args(NoiseKind)
labels = npst.arrays(np.int64, st.integers(0, 60), elements=st.integers(0, 4))
shares = st.floats(0, 1)
seeds = st.integers(0, 2**62)


@given(labels, shares, st.sampled_from(KINDS), seeds)
def test_equal_to_a_loop_over_the_texts(true: Any, share: float, kind: NoiseKind, seed: int) -> None:
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, 2))))
    chance = [rng.random() for _ in true]
    steps = rng.integers(1, 5, len(true)).tolist()
    expected = [
        (int(label) + (step if kind == "uniform" else 1)) % 5 if drawn < share else int(label)
        for label, drawn, step in zip(true, chance, steps, strict=True)
    ]
    assert noisy_labels(true, 5, share, kind, seed).tolist() == expected


@given(labels, shares, shares, seeds)
def test_both_kinds_have_the_same_wrong_labels_and_more_noise_keeps_them(
    true: Any, one: float, other: float, seed: int
) -> None:
    before = true.copy()
    wrong = {
        (kind, share): noisy_labels(true, 5, share, kind, seed) != true
        for kind in KINDS
        for share in (one, other)
    }
    assert (true == before).all()
    assert (wrong["uniform", one] == wrong["neighbour", one]).all()
    less, more = sorted((one, other))
    assert not (wrong["uniform", less] & ~wrong["uniform", more]).any()
    assert not noisy_labels(true, 5, 0.0, "uniform", seed)[
        true != noisy_labels(true, 5, 0.0, "uniform", 0)
    ].any()
    assert (noisy_labels(true, 5, 1.0, "neighbour", seed) == (true + 1) % 5).all()


def test_shares_and_wrong_classes_are_as_promised() -> None:
    true = np.repeat(np.arange(4), 5_000)
    noisy = noisy_labels(true, 4, 0.3, "uniform", 1)
    for label in range(4):
        counts = np.bincount(noisy[true == label], minlength=4) / 5_000
        expected = np.full(4, 0.1)
        expected[label] = 0.7
        assert counts == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_every_method_gets_the_same_wrong_labels_and_the_test_set_none(
    kind: NoiseKind, reviews: Path, held_out: Path
) -> None:
    found = []
    for method, seed in (("none", 0), ("attentionmix", 1)):
        options: dict[str, Any] = {"method": method, "seed": seed, "subset_seed": 5}
        config = TrainConfig(label_noise=0.4, noise_kind=kind, samples=30, **options)
        sets = open_sets(reviews, config, held_out, [("test", held_out)])
        clean = open_sets(reviews, TrainConfig(samples=30, **options), held_out, [("test", held_out)])
        assert (sets.subset == clean.subset).all()  # type: ignore[union-attr]  # 30 of 40
        noisy, true = (each.training.batch(each.subset)["labels"] for each in (sets, clean))  # type: ignore[arg-type]
        assert sets.changed_labels == (noisy != true).sum() > 0
        assert (sets.training.class_ids()[sets.subset] == noisy).all()
        assert clean.changed_labels is None
        for one, other in zip(list(sets)[1:], list(clean)[1:], strict=True):
            assert (one.class_ids() == other.class_ids()).all()
            assert not one.relabelled
        found.append(noisy)
    assert (found[0] == found[1]).all()


def test_a_share_that_is_held_out_is_as_wrong_as_the_rest(reviews: Path) -> None:
    config = TrainConfig(label_noise=0.4, samples=30, subset_seed=3)
    sets = open_sets(reviews, config, Share(0.5), [])
    whole = open_sets(reviews, config, None, [])
    assert sets.dev is not None and sets.dev.numbers is not None and sets.subset is not None
    assert sets.dev.dataset.relabelled
    labels = whole.training.class_ids()
    for dataset, numbers in ((sets.dev.dataset, sets.dev.numbers), (sets.training, sets.subset)):
        assert (dataset.batch(numbers)["labels"] == labels[numbers]).all()
    assert sorted([*sets.dev.numbers, *sets.subset]) == [*whole.subset]  # type: ignore[misc]  # 30 of 40


def test_a_run_with_noise_is_another_run_and_says_so(
    reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    results = {
        noise: train(
            reviews,
            tmp_path / str(noise),
            str(tiny_bert),
            TrainConfig(method="none", label_noise=noise, **FAST),
            evals=[("test", held_out)],
        )
        for noise in (0.0, 0.5)
    }
    assert results[0.0].changed_labels is None
    assert 0 < (results[0.5].changed_labels or 0) < 40
    assert results[0.0].eval != results[0.5].eval
    assert "label_noise: 0.5" in (tmp_path / "0.5" / "config.yaml").read_text()


def test_heads_are_ranked_by_the_wrong_labels_too_and_the_ranking_is_not_kept(
    tiny_bert: Path, tmp_path: Path, make_shards: MakeShards, review_rows: list[dict[str, Any]]
) -> None:
    shards = make_shards(review_rows)
    kept = Path(f"{shards}.ranking")
    train(shards, tmp_path / "noisy", str(tiny_bert), TrainConfig(head="auto", label_noise=0.5, **FAST))
    assert not kept.exists()
    train(shards, tmp_path / "clean", str(tiny_bert), TrainConfig(head="auto", **FAST))
    assert kept.exists()


def test_class_weights_cannot_be_made_wrong(
    make_shards: MakeShards, review_rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    rows = [{**row, "label": [float(row["label"]), 1.0]} for row in review_rows[:20]]
    shards = make_shards(rows)
    with pytest.raises(UsageError, match=r"label_noise is 0\.2; the labels of .* are class weights"):
        open_sets(shards, TrainConfig(label_noise=0.2), None, [])
