"""Temperature scaling: one number, fitted on a development set, with which every method should be compared.

Axes: M models, N samples, C classes.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amix.train.score.metrics import log_softmax

LOWEST, HIGHEST = 0.05, 20.0
_STEPS = 60


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the T in [0.05, 20] with the least cross-entropy of softmax(logits / T) with `targets` of the labels.

    Guo et al. 2017, arXiv 1706.04599, section 4.2. The cross-entropy is convex in 1 / T, so bisection on its slope
    finds the one minimum. logits: (N, C), N >= 1.  labels: (N,) class ids.
    logits (M, N, C) are those of an ensemble, whose probability is the mean of its models': T divides the logits of
    each. Its cross-entropy may have several minima; then this is one of them.
    """
    labels_N = np.asarray(labels)
    logits_MNC = np.asarray(logits, np.float64).reshape(-1, len(labels_N), np.shape(logits)[-1])
    targets_NC = targets(labels_N, logits_MNC.shape[2])

    def slope(inverse: float) -> float:
        log_prob_MNC = log_softmax(inverse * logits_MNC)
        # Each model counts by its share of the probability that a class gets.
        share_MNC = np.exp(log_prob_MNC - np.logaddexp.reduce(log_prob_MNC, axis=0))
        mean_MN1 = (np.exp(log_prob_MNC) * logits_MNC).sum(axis=2, keepdims=True)
        return float((targets_NC * share_MNC * (mean_MN1 - logits_MNC)).sum(axis=(0, 2)).mean())

    low, high = 1.0 / HIGHEST, 1.0 / LOWEST
    if slope(high) <= 0.0:
        return LOWEST
    if slope(low) >= 0.0:
        return HIGHEST
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if slope(middle) < 0.0:
            low = middle
        else:
            high = middle
    return 2.0 / (low + high)


def targets(labels_N: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Return what probabilities are fitted to, (N, C): labels that one more sample, of any class, has blurred.

    Where a model is right on all of ten texts, the likelihood alone would make it as sure as can be, and its errors on
    others very dear. Platt 1999 (Probabilistic outputs for support vector machines, section 2.2) does the like.
    """
    added = 1.0 / (len(labels_N) + 1)
    return (1.0 - added) * np.eye(classes)[labels_N] + added / classes
