"""Temperature scaling: one number, fitted on a development set, with which every method should be compared.

Axes: N samples, C classes.
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
    """
    logits_NC, labels_N = np.asarray(logits, np.float64), np.asarray(labels)
    chosen_N = logits_NC[np.arange(len(labels_N)), labels_N]

    def slope(inverse: float) -> float:
        probability_NC = np.exp(log_softmax(inverse * logits_NC))
        return float(((probability_NC * logits_NC).sum(axis=1) - chosen_N).mean())

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
