"""Metrics against values worked out by hand and plain loops."""

import itertools
import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from amix.train.score.metrics import (
    Floats,
    Ids,
    accuracy,
    aurc,
    brier,
    confidence_gap,
    ece,
    ece_equal_mass,
    log_softmax,
    macro_f1,
    nll,
    reliability,
    report,
)
from amix.train.score.temperature import HIGHEST, LOWEST, fit_temperature


def probabilities(*rows: tuple[float, ...]) -> Floats:
    return np.log(np.array(rows, np.float64))


@st.composite
def evaluations(draw: st.DrawFn) -> tuple[Floats, Ids]:
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
def test_equals_plain_loops(evaluation: tuple[Floats, Ids]) -> None:
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


def test_the_area_under_the_risk_coverage_curve_worked_out_by_hand() -> None:
    logits = probabilities((0.9, 0.1), (0.4, 0.6), (0.2, 0.8), (0.3, 0.7))  # from sure to unsure: 0, 2, 3, 1
    assert aurc(logits, np.array([0, 1, 1, 1])) == 0.0
    assert aurc(logits, np.array([1, 0, 0, 0])) == 1.0
    assert aurc(logits, np.array([0, 0, 1, 1])) == pytest.approx((0 + 0 + 0 + 1 / 4) / 4)
    assert aurc(logits, np.array([1, 1, 1, 1])) == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    tied = probabilities((0.9, 0.1), (0.8, 0.2), (0.2, 0.8))  # the error is second or third
    assert aurc(tied, np.array([0, 1, 1])) == pytest.approx(((1 / 2 + 1 / 3) / 2 + (0 + 1 / 3) / 2) / 3)


@given(evaluations(), st.integers(0, 3))
def test_the_area_is_the_mean_over_the_orders_of_equal_confidences(
    evaluation: tuple[Floats, Ids], decimals: int
) -> None:
    logits, labels = np.round(evaluation[0][:6], -1 + decimals % 2), evaluation[1][:6]
    probability = np.exp(log_softmax(logits)).max(axis=1)
    wrong = logits.argmax(axis=1) != labels
    areas = []
    for order in itertools.permutations(range(len(labels))):
        if any(probability[a] < probability[b] for a, b in itertools.pairwise(order)):
            continue
        risks = [sum(wrong[list(order[: k + 1])]) / (k + 1) for k in range(len(order))]
        areas.append(sum(risks) / len(risks))
    assert aurc(logits, labels) == pytest.approx(sum(areas) / len(areas), abs=1e-9)


def near_an_edge(logits: np.ndarray) -> bool:
    confidence = np.exp(log_softmax(logits)).max(axis=1) * 15
    return bool((np.abs(confidence - np.round(confidence)) < 1e-9).any())


@given(evaluations(), st.randoms(use_true_random=False))
def test_bounds_and_order(evaluation: tuple[Floats, Ids], random: Random) -> None:
    logits, labels = evaluation
    result = report(logits, labels)
    assert all(0 <= result[name] <= 1 for name in ("accuracy", "macro_f1", "ece"))
    assert result["nll"] >= 0
    order = list(range(len(labels)))
    random.shuffle(order)
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


@given(evaluations())
def test_calibration_equals_plain_loops(evaluation: tuple[Floats, Ids]) -> None:
    logits, labels = evaluation
    rows = [np.exp(row - row.max()) / np.exp(row - row.max()).sum() for row in logits]
    squares = [
        sum((p - (number == label)) ** 2 for number, p in enumerate(row))
        for row, label in zip(rows, labels, strict=True)
    ]
    assert brier(logits, labels) == pytest.approx(sum(squares) / len(squares), abs=1e-12)

    ranked = sorted(
        (
            (min(row.max(), 1.0), float(logit.argmax() == label))
            for row, logit, label in zip(rows, logits, labels, strict=True)
        ),
        key=lambda pair: pair[0],
    )
    error, begin = 0.0, 0
    for number in range(15):
        size = len(ranked) // 15 + (number < len(ranked) % 15)
        error += abs(sum(right - sure for sure, right in ranked[begin : begin + size]))
        begin += size
    # Which of two samples of the same confidence comes first is rounding's to say.
    if len({round(sure, 9) for sure, _ in ranked}) == len(ranked):
        assert ece_equal_mass(logits, labels) == pytest.approx(error / len(ranked), abs=1e-9)

    sure, right = (sum(column) / len(ranked) for column in zip(*ranked, strict=True))
    assert confidence_gap(logits, labels) == pytest.approx(sure - right, abs=1e-9)
    assert abs(sure - right) <= ece(logits, labels) + 1e-9

    bins = reliability(logits, labels)
    assert sum(bins["samples"]) == len(labels)
    gaps = [
        count / len(labels) * abs(right - sure)
        for count, sure, right in zip(bins["samples"], bins["confidence"], bins["accuracy"], strict=True)
    ]
    assert sum(gaps) == pytest.approx(ece(logits, labels), abs=1e-9)


@given(evaluations())
def test_no_temperature_fits_better(evaluation: tuple[Floats, Ids]) -> None:
    logits, labels = evaluation
    found = fit_temperature(logits, labels)
    assert LOWEST <= found <= HIGHEST

    def loss(temperature: float) -> float:
        total = 0.0
        log_prob = log_softmax(np.asarray(logits) / temperature)
        for row, label in zip(log_prob, labels, strict=True):
            total -= len(labels) * row[label] + row.mean()  # one more sample, spread over samples and classes
        return total

    best = loss(found)
    assert all(best <= loss(other) + 1e-7 for other in np.geomspace(LOWEST, HIGHEST, 30))


def test_a_known_temperature_is_found() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 4))
    probability = np.exp(log_softmax(logits))
    labels = (rng.random((20_000, 1)) > probability.cumsum(axis=1)).sum(axis=1)
    assert fit_temperature(logits * 2.5, labels) == pytest.approx(2.5, rel=0.05)
    assert fit_temperature([[3.0, 0.0], [0.0, 1.0]], [1, 0]) == HIGHEST


def test_a_model_that_is_right_everywhere_is_not_made_as_sure_as_can_be() -> None:
    """The likelihood alone has no optimum there: ten texts would make an error on the next one cost thirty nats."""
    found = [
        fit_temperature([[3.0, 0.0], [0.0, 1.0]] * pairs + wrong, [0, 1] * pairs + [0] * len(wrong))
        for pairs, wrong in ((5, [[0.0, 2.0]]), (5, []), (50, []))
    ]
    assert found == sorted(found, reverse=True)  # surer without an error, and the surer the more texts
    assert len(set(found)) == 3 and found[-1] > 2 * LOWEST
