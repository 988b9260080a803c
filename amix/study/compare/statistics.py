"""The uncertainty of a difference between methods: over seeds and test texts at once, and over seeds alone.

Axes: S seeds, N test texts, C classes, R resamples.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from amix.train.score.metrics import ECE_BINS, log_softmax, questions

Floats = NDArray[np.float64]
# A metric of many weighted versions of a test set: (R, N) weights -> (R,).
Weighted = Callable[[Floats], Floats]
Key = TypeVar("Key")

FEWEST_SEEDS = 10  # 5 cannot reach 0.05: the smallest two-sided p of 2^5 sign flips is 2 / 32
_EXACT = 14  # with up to this many seeds all sign flips are tried
_DRAWN = 20_000  # sign flips where there are more seeds
# Weights at a time, where arrays as large are made of them: few enough to stay in a core's cache.
_AT_ONCE = 2**18
_HELD = 2**23  # weights at a time, 64 MB: those of 2,000 resamples of a million texts would fill 16 GB


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The difference of a method to the baseline, over the seeds that both have.

    low, high: ends of the 95 % interval.  p: of the permutation test, None with fewer than 10 seeds; not yet
    corrected for several comparisons.
    """

    mean: float
    low: float
    high: float
    p: float | None
    seeds: int


def weighted_metrics(
    logits_NC: Floats,
    truth: NDArray[Any],  # integers (N,), or floats (N, C)
    *,
    multi_label: bool = False,
) -> dict[str, Weighted]:
    """Return accuracy, NLL, Brier score, ECE and AURC, as in `train.score.metrics`, as functions of the texts' weights.

    The weights, (R, N), are how often each text is in each resample; all rows have the same sum.
    """
    asked, answers = questions(logits_NC, truth, multi_label=multi_label)
    per_text = len(asked) // len(logits_NC)  # questions
    log_probs = log_softmax(asked)
    probability = np.exp(log_probs)
    rows = np.arange(len(asked))
    if multi_label:
        right_N = ((np.asarray(logits_NC) > 0) == (np.asarray(truth) > 0.5)).all(axis=1).astype(np.float64)
    else:
        right_N = (asked.argmax(axis=1) == answers).astype(np.float64)
    surprise = -log_probs[rows, answers]
    distance = probability.copy()
    distance[rows, answers] -= 1.0
    confidence = np.minimum(probability.max(axis=1), 1.0)
    gap = (asked.argmax(axis=1) == answers) - confidence
    bin_ = np.searchsorted(np.linspace(0.0, 1.0, ECE_BINS + 1), confidence, side="left") - 1
    gaps_NB = np.zeros((len(asked), ECE_BINS))
    gaps_NB[rows, bin_] = gap

    def over_texts(values: Floats) -> Floats:
        """Return per text the mean over its questions."""
        means: Floats = values.reshape(len(logits_NC), per_text, *values.shape[1:]).mean(axis=1)
        return means

    def mean_of(values_N: Floats) -> Weighted:
        return lambda weights_RN: weights_RN @ values_N / weights_RN.sum(axis=1)

    binned_NB = over_texts(gaps_NB)
    return {
        "accuracy": mean_of(right_N),
        "nll": mean_of(over_texts(surprise)),
        "brier": mean_of(over_texts((distance**2).sum(axis=1))),
        "ece": lambda weights_RN: np.abs(weights_RN @ binned_NB).sum(axis=1) / weights_RN.sum(axis=1),
        "aurc": _weighted_aurc(confidence, asked.argmax(axis=1) != answers, per_text),
    }


def _weighted_aurc(confidence_Q: Floats, is_wrong_Q: NDArray[np.bool_], per_text: int) -> Weighted:
    """Return the area under the risk-coverage curve of Q questions as a function of the weights of their texts."""
    order_Q = np.argsort(-confidence_Q, kind="stable")
    text_Q, is_wrong_Q = order_Q // per_text, is_wrong_Q[order_Q]
    # Questions of equal confidence make up a level. In which order they come makes no difference.
    begins_L = np.flatnonzero(np.diff(confidence_Q[order_Q], prepend=np.inf))
    ends_L = np.append(begins_L[1:], len(order_Q))
    errors_L = np.add.reduceat(is_wrong_Q.astype(np.int64), begins_L)
    all_wrong = np.flatnonzero(errors_L == ends_L - begins_L)
    some_wrong = np.flatnonzero((errors_L > 0) & (errors_L < ends_L - begins_L))

    def area(weights_RN: Floats) -> Floats:
        # How much was answered before each question, and at the end.
        answered_RQ = np.zeros((len(weights_RN), len(order_Q) + 1), np.int64)
        np.cumsum(weights_RN[:, text_Q], axis=1, dtype=np.int64, out=answered_RQ[:, 1:])
        total = int(answered_RQ[0, -1])
        harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, total + 1))])
        summed = np.concatenate([[0.0], np.cumsum(harmonic)])

        def risks(levels: NDArray[np.int64]) -> Floats:
            """Return the sum of the risks if all questions of a level were wrong and no others."""
            # The error at place k counts in the risks from there on, 1/k + ... + 1/total.
            before, after = answered_RQ[:, begins_L[levels]], answered_RQ[:, ends_L[levels]]
            sums: Floats = harmonic[total] * (after - before) - (summed[after] - summed[before])
            return sums

        found_R: Floats = risks(all_wrong).sum(axis=1)
        for level in some_wrong:
            inside = slice(begins_L[level], ends_L[level])
            wrong_R = weights_RN[:, text_Q[inside][is_wrong_Q[inside]]].sum(axis=1)
            count_R = answered_RQ[:, ends_L[level]] - answered_RQ[:, begins_L[level]]
            found_R += risks(np.array([level]))[:, 0] * wrong_R / np.maximum(count_R, 1)
        found_R /= total
        return found_R

    def in_parts(weights_RN: Floats) -> Floats:
        rows = max(1, _AT_ONCE // len(order_Q))
        return np.concatenate([area(weights_RN[at : at + rows]) for at in range(0, len(weights_RN), rows)])

    return in_parts


def resampled_texts(texts: int, resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Yield how often each text is in each of `resamples` draws with replacement, (R, N), some rows at a time."""
    rows = max(1, _HELD // max(texts, 1))
    for first in range(0, resamples, rows):
        size = min(rows, resamples - first)
        yield rng.multinomial(texts, np.full(texts, 1.0 / texts), size=size).astype(np.float64)


def resampled_metrics(
    metrics: Sequence[Mapping[str, Weighted]], texts: int, resamples: int, rng: np.random.Generator
) -> list[dict[str, Floats]]:
    """Return every metric, (1 + R,): on the texts themselves, then on each resample, the same for all metrics."""
    found: list[dict[str, list[Floats]]] = [{name: [] for name in each} for each in metrics]
    for weights_RN in itertools.chain([np.ones((1, texts))], resampled_texts(texts, resamples, rng)):
        for each, values in zip(metrics, found, strict=True):
            for name, metric in each.items():
                values[name].append(metric(weights_RN))
    return [{name: np.concatenate(parts) for name, parts in values.items()} for values in found]


def paired_difference(
    method: Sequence[Floats], baseline: Sequence[Floats], rng: np.random.Generator, *, biased: bool = False
) -> Difference:
    """Return the mean difference over seeds, with an interval over seeds and texts and a p-value over seeds.

    method, baseline: for each seed a metric as `resampled_metrics` returns it, of the same seeds in the same order.
    The interval is that of the percentile bootstrap, with seeds and texts both drawn anew (two crossed factors, since
    every seed is tested on the same texts; Owen 2007). With one seed only the texts are drawn.
    biased: the metric is larger on a resample than on the texts themselves, as ECE is; a small value grows most.
    The interval is then reflected at the difference (the basic bootstrap; Davison and Hinkley 1997, section 5.2.1).
    Otherwise it would miss the difference.
    """
    found_SR = np.stack([a - b for a, b in zip(method, baseline, strict=True)])
    differences_S, drawn_SR = found_SR[:, 0], found_SR[:, 1:]
    seeds, resamples = drawn_SR.shape
    picked_RS = rng.integers(0, seeds, (resamples, seeds))
    means_R = drawn_SR[picked_RS, np.arange(resamples)[:, None]].mean(axis=1)
    mean = float(differences_S.mean())
    low, high = np.quantile(means_R, [0.025, 0.975])
    if biased:
        low, high = 2 * mean - high, 2 * mean - low
    return Difference(
        mean=mean,
        low=float(low),
        high=float(high),
        p=sign_flip_p(differences_S, rng) if seeds >= FEWEST_SEEDS else None,
        seeds=seeds,
    )


def sign_flip_p(differences_S: Floats, rng: np.random.Generator) -> float:
    """Return the two-sided p of a permutation test: without a difference, each seed's sign is as likely + as -.

    With up to 14 seeds all 2^S sign flips are tried, else 20,000 random ones and the one observed.
    """
    seeds = len(differences_S)
    if seeds <= _EXACT:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=seeds)))
    else:
        signs = rng.choice((1.0, -1.0), (_DRAWN, seeds))
        signs[0] = 1.0
    found = np.abs(signs @ differences_S)
    # A flip and its mirror image must count the same, in spite of rounding.
    return float((found >= found[0] * (1 - 1e-9) - 1e-15).mean())


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Return p-values corrected for their number (Holm 1979)."""
    corrected: dict[Key, float] = {}
    largest = 0.0
    for rank, (key, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p))
        corrected[key] = largest
    return corrected
