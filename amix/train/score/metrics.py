"""What an evaluation reports: accuracy, macro-F1, NLL, Brier score, calibration errors and AURC, in float64.

Axes: N samples, C classes.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

ECE_BINS = 15

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


def log_softmax(logits: ArrayLike) -> Floats:
    """Return log probabilities over the last axis, float64, whatever the size of the logits."""
    logits_NC = np.asarray(logits, dtype=np.float64)
    shifted_NC = logits_NC - logits_NC.max(axis=-1, keepdims=True)
    log_probs_NC: Floats = shifted_NC - np.log(np.exp(shifted_NC).sum(axis=-1, keepdims=True))
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


def brier(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean over samples of the squared distance of probabilities from the one-hot label, in [0, 2].

    Brier 1950. logits: (N, C).  labels: (N,) class ids.
    """
    probability_NC, labels_N = np.exp(log_softmax(logits)), np.asarray(labels)
    probability_NC[np.arange(len(labels_N)), labels_N] -= 1.0
    return float((probability_NC**2).sum(axis=1).mean())


def ece(logits: ArrayLike, labels: ArrayLike, bins: int = ECE_BINS) -> float:
    """Return the expected calibration error, in [0, 1] (Guo et al. 2017, arXiv 1706.04599, equation 3).

    Confidence is the largest probability. Bins are of equal width and closed on the right: (0, 1/15], ...,
    (14/15, 1]. The sum over bins of their share of samples times |accuracy - mean confidence|.
    logits: (N, C).  labels: (N,) class ids.
    """
    confidence_N, correct_N = _confidence(logits, labels)
    gaps = np.bincount(_width_bins(confidence_N, bins), weights=correct_N - confidence_N, minlength=bins)
    # share * |mean gap| = |sum of gaps| / N, so empty bins need no special case.
    return float(np.abs(gaps).sum() / len(confidence_N))


def ece_equal_mass(logits: ArrayLike, labels: ArrayLike, bins: int = ECE_BINS) -> float:
    """Return the calibration error over bins with equal numbers of samples, in [0, 1] (Nguyen and O'Connor 2015).

    Samples of equal confidence may come into different bins, by the order of the data.
    """
    confidence_N, correct_N = _confidence(logits, labels)
    gap_N = (correct_N - confidence_N)[np.argsort(confidence_N, kind="stable")]
    return float(sum(abs(part.sum()) for part in np.array_split(gap_N, bins)) / len(gap_N))


def aurc(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the area under the risk-coverage curve, in [0, 1]; the lower, the better.

    The classifier answers only what it is most confident of. Coverage is the share that it answers, risk the share of
    errors among these (Geifman and El-Yaniv 2017, arXiv 1705.08500); the area is the mean risk over the coverages 1/N,
    2/N, ..., 1 (Geifman et al. 2019, arXiv 1805.08206). Samples of equal confidence come in random order: the result is
    the mean over these orders.
    logits: (N, C).  labels: (N,) class ids.
    """
    confidence_N, correct_N = _confidence(logits, labels)
    _, level_N, count_L = np.unique(-confidence_N, return_inverse=True, return_counts=True)
    wrong_L = np.bincount(level_N, weights=1.0 - correct_N) / count_L
    answered_N = np.arange(1, len(level_N) + 1)
    return float((np.cumsum(np.repeat(wrong_L, count_L)) / answered_N).mean())


def confidence_gap(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return mean confidence minus accuracy, in (-1, 1): above 0 the classifier is over-confident.

    Confidence is the largest probability. logits: (N, C).  labels: (N,) class ids.
    """
    confidence_N, correct_N = _confidence(logits, labels)
    return float((confidence_N - correct_N).mean())


def reliability(logits: ArrayLike, labels: ArrayLike, bins: int = ECE_BINS) -> dict[str, list[float]]:
    """Return what a reliability diagram shows, per bin of equal width: samples, mean confidence, accuracy.

    For an empty bin they are 0, the bin's middle and 0.
    """
    confidence_N, correct_N = _confidence(logits, labels)
    bin_N = _width_bins(confidence_N, bins)
    count = np.bincount(bin_N, minlength=bins)
    filled = np.maximum(count, 1)
    middle = (np.arange(bins) + 0.5) / bins
    mean = np.bincount(bin_N, weights=confidence_N, minlength=bins) / filled
    return {
        "samples": count.tolist(),
        "confidence": np.where(count > 0, mean, middle).tolist(),
        "accuracy": (np.bincount(bin_N, weights=correct_N, minlength=bins) / filled).tolist(),
    }


def _confidence(logits: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    """Return per sample the largest probability, and 1 where it is the label's."""
    confidence_N = np.exp(log_softmax(logits).max(axis=1))
    # Rounding may lift a probability of one above 1.
    return np.minimum(confidence_N, 1.0), (np.asarray(logits).argmax(axis=1) == np.asarray(labels)).astype(
        np.float64
    )


def _width_bins(confidence_N: Floats, bins: int) -> Ids:
    return np.searchsorted(np.linspace(0.0, 1.0, bins + 1), confidence_N, side="left") - 1


def report(logits: ArrayLike, labels: ArrayLike, *, multi_label: bool = False) -> dict[str, float]:
    """Return `{"accuracy", "macro_f1", "nll", "ece"}` of logits (N, C), N >= 1.

    labels: (N,) class ids, or (N, C) class weights, of which the largest counts as the label.
    multi_label: each class is a yes-no question, where a label weight > 0.5 means yes. Accuracy counts a sample as
    right if all its classes are, macro-F1 is the mean over the classes that occur, NLL and ECE go over all N * C
    questions.
    """
    asked, answers = questions(logits, labels, multi_label=multi_label)
    if multi_label:
        predicted_NC, truth_NC = np.asarray(logits) > 0, np.asarray(labels) > 0.5
        occurs_C = (predicted_NC | truth_NC).any(axis=0)
        f1 = [_f1(predicted_NC[:, each], truth_NC[:, each]) for each in np.flatnonzero(occurs_C)]
        right = float((predicted_NC == truth_NC).all(axis=1).mean())
        f1_mean = float(np.mean(f1)) if f1 else 1.0
    else:
        predicted_N = asked.argmax(axis=1)
        right, f1_mean = accuracy(predicted_N, answers), macro_f1(predicted_N, answers)
    return {"accuracy": right, "macro_f1": f1_mean, "nll": nll(asked, answers), "ece": ece(asked, answers)}


def calibration(logits: ArrayLike, labels: ArrayLike, *, multi_label: bool = False) -> dict[str, float]:
    """Return `{"nll", "brier", "ece", "ece_equal_mass", "aurc"}`; arguments as for `report`."""
    asked, answers = questions(logits, labels, multi_label=multi_label)
    return {
        "nll": nll(asked, answers),
        "brier": brier(asked, answers),
        "ece": ece(asked, answers),
        "ece_equal_mass": ece_equal_mass(asked, answers),
        "aurc": aurc(asked, answers),
    }


def questions(logits: ArrayLike, labels: ArrayLike, *, multi_label: bool = False) -> tuple[Floats, Ids]:
    """Return logits and label ids of what calibration counts: the samples, or each class of each sample as yes or no.

    Arguments as for `report`. Returns (N, C) and (N,), or (N * C, 2) and (N * C,).
    """
    logits_NC, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if not multi_label:
        return logits_NC, truth.argmax(axis=1) if truth.ndim == 2 else truth
    flat = logits_NC.reshape(-1)
    # Softmax over (0, z) is sigmoid(z).
    return np.stack([np.zeros_like(flat), flat], axis=1), (truth > 0.5).reshape(-1).astype(np.int64)


def _f1(predicted_N: NDArray[np.bool_], truth_N: NDArray[np.bool_]) -> float:
    """Return 2 TP / (2 TP + FP + FN) of two boolean arrays, at least one of them not empty."""
    return 2.0 * int((predicted_N & truth_N).sum()) / (int(predicted_N.sum()) + int(truth_N.sum()))
