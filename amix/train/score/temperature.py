"""Temperature scaling: one number, fitted on a development set, with which every method should be compared.

Axes: M models, N samples, C classes.
"""

import numpy as np
from numpy.typing import ArrayLike

from amix.train.score.metrics import log_softmax

# Where the model is right on every sample, the likelihood keeps growing as the temperature falls.
LOWEST, HIGHEST = 0.05, 20.0
_STEPS = 60


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the T in [0.05, 20] with the least negative log likelihood of softmax(logits / T).

    Guo et al. 2017, arXiv 1706.04599, section 4.2. The likelihood is convex in 1 / T, so bisection on its slope finds
    the one minimum. logits: (N, C), N >= 1.  labels: (N,) class ids.
    logits (M, N, C) are those of an ensemble, whose probability is the mean of its models': T divides the logits of
    each. Its likelihood may have several minima; then this is one of them.
    """
    labels_N = np.asarray(labels)
    logits_MNC = np.asarray(logits, np.float64).reshape(-1, len(labels_N), np.shape(logits)[-1])
    chosen_MN = logits_MNC[:, np.arange(len(labels_N)), labels_N]

    def slope(inverse: float) -> float:
        log_prob_MNC = log_softmax(inverse * logits_MNC)
        log_chosen_MN = log_prob_MNC[:, np.arange(len(labels_N)), labels_N]
        # Each model counts by its share of the probability that the label gets.
        share_MN = np.exp(log_softmax(log_chosen_MN.T)).T
        excess_MN = (np.exp(log_prob_MNC) * logits_MNC).sum(axis=2) - chosen_MN
        return float((share_MN * excess_MN).sum(axis=0).mean())

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
