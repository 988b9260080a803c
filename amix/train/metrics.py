"""What an evaluation reports: accuracy, macro-F1, NLL and ECE, in float64.

Axes: N samples, C classes.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

ECE_BINS = 15

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


def log_softmax(logits: ArrayLike) -> Floats:
    """Return log probabilities, (N, C) float64, whatever the size of the logits."""
    logits_NC = np.asarray(logits, dtype=np.float64)
    shifted_NC = logits_NC - logits_NC.max(axis=1, keepdims=True)
    log_probs_NC: Floats = shifted_NC - np.log(np.exp(shifted_NC).sum(axis=1, keepdims=True))
    return log_probs_NC


def accuracy(predicted: ArrayLike, labels: ArrayLike) -> float:
    """Return the share of predictions that equal the label, in [0, 1]. Both (N,) class ids."""
    return float(np.mean(np.asarray(predicted) == np.asarray(labels)))


def macro_f1(predicted: ArrayLike, labels: ArrayLike) -> float:
    """Return the unweighted mean of F1 over the classes that occur as label or prediction, in [0, 1].

    Both (N,) class ids. Equal to scikit-learn's `f1_score(average="macro")`.
    """
    predicted_N, labels_N = np.asarray(predicted), np.asarray(labels)
    classes = np.union1d(predicted_N, labels_N)
    return float(np.mean([_f1(predicted_N == each, labels_N == each) for each in classes]))


def nll(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean negative log likelihood of the labels in nats, >= 0.

    logits: (N, C).  labels: (N,) class ids.
    """
    labels_N = np.asarray(labels)
    return float(-log_softmax(logits)[np.arange(len(labels_N)), labels_N].mean()) + 0.0  # no -0.0


def ece(logits: ArrayLike, labels: ArrayLike, bins: int = ECE_BINS) -> float:
    """Return the expected calibration error, in [0, 1] (Guo et al. 2017, arXiv 1706.04599, equation 3).

    Confidence is the largest probability. Bins are of equal width and closed on the right: (0, 1/15], ...,
    (14/15, 1]. The sum over bins of their share of samples times |accuracy - mean confidence|.
    logits: (N, C).  labels: (N,) class ids.
    """
    confidence_N = np.exp(log_softmax(logits).max(axis=1))
    gap_N = (np.asarray(logits).argmax(axis=1) == np.asarray(labels)) - confidence_N
    edges = np.linspace(0.0, 1.0, bins + 1)
    # Rounding may lift a probability of one above 1; it belongs to the last bin.
    bin_N = np.searchsorted(edges, np.minimum(confidence_N, 1.0), side="left") - 1
    # share * |mean gap| = |sum of gaps| / N, so empty bins need no special case.
    return float(np.abs(np.bincount(bin_N, weights=gap_N, minlength=bins)).sum() / len(gap_N))


def report(logits: ArrayLike, labels: ArrayLike, *, multi_label: bool = False) -> dict[str, float]:
    """Return `{"accuracy", "macro_f1", "nll", "ece"}` of logits (N, C), N >= 1.

    labels: (N,) class ids, or (N, C) class weights, of which the largest counts as the label.
    multi_label: each class is a yes-no question of its own with label weight > 0.5 = yes: accuracy asks for
    the whole row, macro-F1 is the mean over the classes that occur, NLL and ECE go over all N * C questions.
    """
    logits_NC, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if multi_label:
        return _multi_label_report(logits_NC, truth > 0.5)
    labels_N: Ids = truth.argmax(axis=1) if truth.ndim == 2 else truth
    predicted_N = logits_NC.argmax(axis=1)
    return {
        "accuracy": accuracy(predicted_N, labels_N),
        "macro_f1": macro_f1(predicted_N, labels_N),
        "nll": nll(logits_NC, labels_N),
        "ece": ece(logits_NC, labels_N),
    }


def _multi_label_report(logits_NC: Floats, truth_NC: NDArray[np.bool_]) -> dict[str, float]:
    predicted_NC = logits_NC > 0
    occurs_C = (predicted_NC | truth_NC).any(axis=0)
    f1 = [_f1(predicted_NC[:, each], truth_NC[:, each]) for each in np.flatnonzero(occurs_C)]
    flat = logits_NC.reshape(-1)
    questions = np.stack([np.zeros_like(flat), flat], axis=1)  # softmax over (0, z) is sigmoid(z)
    answers = truth_NC.reshape(-1).astype(np.int64)
    return {
        "accuracy": float((predicted_NC == truth_NC).all(axis=1).mean()),
        "macro_f1": float(np.mean(f1)) if f1 else 1.0,
        "nll": nll(questions, answers),
        "ece": ece(questions, answers),
    }


def _f1(predicted_N: NDArray[Any], truth_N: NDArray[Any]) -> float:
    """Return 2 TP / (2 TP + FP + FN) of two boolean arrays, at least one of them not empty."""
    return 2.0 * int((predicted_N & truth_N).sum()) / (int(predicted_N.sum()) + int(truth_N.sum()))
