"""Metrics against values worked out by hand and plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from amix.train.metrics import accuracy, ece, log_softmax, macro_f1, nll, report


def probabilities(*rows: tuple[float, ...]) -> np.ndarray:
    return np.log(np.array(rows))


@st.composite
def evaluations(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    samples, classes = draw(st.integers(1, 30)), draw(st.integers(2, 5))
    logits = draw(npst.arrays(np.float64, (samples, classes), elements=st.floats(-30, 30)))
    labels = draw(npst.arrays(np.int64, (samples,), elements=st.integers(0, classes - 1)))
    return logits, labels


def test_values_worked_out_by_hand() -> None:
    logits = probabilities((0.9, 0.1), (0.6, 0.4), (0.2, 0.8), (0.3, 0.7))
    labels = np.array([0, 1, 1, 0])
    result = report(logits, labels)
    assert result["accuracy"] == 0.5
    assert result["macro_f1"] == 0.5  # both classes: 1 true positive, 1 false positive, 1 false negative
    assert result["nll"] == pytest.approx(
        -(math.log(0.9) + math.log(0.4) + math.log(0.8) + math.log(0.3)) / 4
    )
    # four bins of one sample each: |1 - .9|, |0 - .6|, |1 - .8|, |0 - .7|
    assert result["ece"] == pytest.approx((0.1 + 0.6 + 0.2 + 0.7) / 4)


def test_macro_f1_counts_classes_that_occur_only() -> None:
    assert macro_f1([0, 0, 3], [0, 3, 3]) == pytest.approx(2 / 3)
    assert macro_f1([1, 1], [2, 2]) == 0.0
    assert macro_f1([2], [2]) == 1.0


def test_bins_are_closed_on_the_right() -> None:
    third = np.log([[0.4, 0.3, 0.3], [1 / 3, 1 / 3, 1 / 3]])  # 6/15 and 5/15: neighbours, each in its own bin
    assert ece(third, [0, 1]) == pytest.approx((0.6 + 1 / 3) / 2)
    assert ece(np.array([[800.0, 0.0]]), [0]) == 0.0  # confidence exactly 1


def test_nll_survives_huge_logits() -> None:
    assert nll([[1e4, 0.0]], [1]) == pytest.approx(1e4)
    assert nll([[1e4, 0.0]], [0]) == 0.0
    assert not math.copysign(1, nll([[1e4, 0.0]], [0])) < 0


@given(evaluations())
def test_equals_plain_loops(evaluation: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = evaluation
    samples, classes = logits.shape
    total, right = 0.0, 0
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(15)]
    for i in range(samples):
        top = max(logits[i])
        weights = [math.exp(z - top) for z in logits[i]]
        total -= logits[i][labels[i]] - top - math.log(sum(weights))
        best = max(range(classes), key=lambda c: logits[i][c])
        right += best == labels[i]
        confidence = weights[best] / sum(weights)
        place = next((b for b in range(15) if confidence <= np.linspace(0, 1, 16)[b + 1]), 14)
        bins[place].append((confidence, bool(best == labels[i])))
    expected = sum(
        len(b) / samples * abs(sum(ok for _, ok in b) / len(b) - sum(c for c, _ in b) / len(b))
        for b in bins
        if b
    )
    assert nll(logits, labels) == pytest.approx(total / samples, abs=1e-9)
    assert accuracy(logits.argmax(axis=1), labels) == pytest.approx(right / samples)
    if not near_an_edge(logits):
        assert ece(logits, labels) == pytest.approx(expected, abs=1e-9)


def near_an_edge(logits: np.ndarray) -> bool:
    confidence = np.exp(log_softmax(logits)).max(axis=1) * 15
    return bool((np.abs(confidence - np.round(confidence)) < 1e-9).any())


@given(evaluations(), st.randoms(use_true_random=False))
def test_bounds_and_order(evaluation: tuple[np.ndarray, np.ndarray], random: object) -> None:
    logits, labels = evaluation
    result = report(logits, labels)
    assert all(0 <= result[name] <= 1 for name in ("accuracy", "macro_f1", "ece"))
    assert result["nll"] >= 0
    order = list(range(len(labels)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert report(logits[order], labels[order]) == pytest.approx(result, abs=1e-9)


def test_class_weights_count_as_their_largest_class() -> None:
    logits = np.array([[1.0, 0.0], [0.5, 0.7]])
    assert report(logits, np.array([[0.8, 0.2], [0.6, 0.4]])) == report(logits, np.array([0, 0]))


def test_multi_label() -> None:
    logits = np.array([[5.0, -5.0, 5.0], [5.0, 5.0, -5.0]])
    truth = np.array([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    result = report(logits, truth, multi_label=True)
    assert result["accuracy"] == 0.5
    assert result["macro_f1"] == pytest.approx(2 / 3)  # 1, 0 and 1
    assert result["nll"] == pytest.approx((5 * math.log1p(math.exp(-5)) + math.log1p(math.exp(5))) / 6)
    assert report(-np.ones((1, 2)), np.zeros((1, 2)), multi_label=True)["macro_f1"] == 1.0
