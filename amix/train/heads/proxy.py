"""Heads ranked by how well the words they attend to separate the classes; no classifier is trained.

Axes: N texts, B batch, S head specs, T tokens, D width of the word embeddings, C classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from amix.engine.base.errors import TrainError
from amix.engine.base.heads import Head
from amix.engine.base.words import counted
from amix.engine.mixing.attentionmix import content_relevance
from amix.loaders.stream.collate import as_tensors
from amix.loaders.stream.dataset import RelevanceDataset
from amix.train.options.auto import FOLDS
from amix.train.score.evaluate import label_names

Floats = NDArray[np.float64]

MOST = 5_000  # texts: more change the ranking little
_BATCH = 64
_ROOM = 1 << 30  # bytes of features in memory at a time
_RIDGES = np.geomspace(1e-3, 1e2, 11)  # times the mean variance of a feature


@dataclass(frozen=True, kw_only=True)
class RankedHead:
    """A head spec and its score.

    separation: share of the labels' variance that is explained on held-out folds, at most 1.
    accuracy: of the class with the largest prediction, on the same folds; None for several labels a text.
    noise: two standard errors of its distance to the first of the ranking, by the same texts. A smaller distance says
        nothing. None for the first itself, and in rankings of earlier versions.
    """

    head: str
    separation: float
    accuracy: float | None
    noise: float | None = None

    def is_told_from(self, first: "RankedHead") -> bool | None:
        """Tell whether it lies behind the first by more than noise, None where that is not known."""
        return None if self.noise is None else first.separation - self.separation > self.noise


def rank_heads(
    shards: str | Path | RelevanceDataset,
    embeddings_VD: torch.Tensor,
    numbers: NDArray[np.int64] | None = None,
    *,
    specs: Sequence[str] | None = None,
) -> list[RankedHead]:
    """Return the head specs of a cache, the best first.

    Each text becomes the mean of its content's word embeddings, weighted by a head's relevance (rule 3 of
    docs/architecture.md). Ridge regression on the labels, in closed form and with its strength chosen inside the
    training folds by generalised cross-validation (Golub, Heath and Wahba 1979), is scored on the fold held out. A
    head that separates the classes well is one whose tokens carry the label.

    shards: a folder with labels, or the data set opened from it.  embeddings_VD: of the model that will be trained.
    numbers: samples to use; None = all, of which 5,000 are drawn where there are more.
    specs: candidates; None = every stored head, the mean of every layer, and that of all.
    Raises TrainError when there are too few texts for the folds, or only one class among them.
    """
    dataset = shards if isinstance(shards, RelevanceDataset) else RelevanceDataset(shards, head=None)
    label_names(dataset.manifest)  # raises where there are none
    chosen = np.arange(len(dataset), dtype=np.int64) if numbers is None else np.asarray(numbers)
    if len(chosen) > MOST:
        chosen = np.sort(np.random.Generator(np.random.Philox(0)).permutation(chosen)[:MOST])
    specs = list(specs or candidates(dataset.manifest.heads))
    targets_NC, fold_N = _targets(dataset.with_head(None), chosen)
    several = max(1, _ROOM // (len(chosen) * embeddings_VD.shape[1] * 4))
    ranked = []
    missed_SN = []
    for begin in range(0, len(specs), several):
        part = specs[begin : begin + several]
        features_SND = _features(dataset.with_head("|".join(part)), chosen, embeddings_VD)
        for spec, features_ND in zip(part, features_SND, strict=True):
            missed_N, accuracy = _held_out(features_ND, targets_NC, fold_N)
            missed_SN.append(missed_N)
            ranked.append(
                RankedHead(
                    head=spec,
                    separation=1.0 - float(missed_N.sum()),
                    accuracy=None if dataset.manifest.multi_label else accuracy,
                )
            )
    order = sorted(range(len(ranked)), key=lambda place: -ranked[place].separation)  # equals keep their order
    first = order[0]
    return [
        ranked[place]
        if place == first
        else replace(ranked[place], noise=_noise(missed_SN[place] - missed_SN[first]))
        for place in order
    ]


def candidates(heads: Sequence[Head]) -> list[str]:
    """Return a spec for every head, for the mean of every layer that has several, and for the mean of all."""
    layers = sorted({layer for layer, _ in heads})
    means = [f"{layer}.mean" for layer in layers if sum(each == layer for each, _ in heads) > 1]
    return [*(f"{layer}.{head}" for layer, head in heads), *means, *(["mean"] if len(layers) > 1 else [])]


def _targets(dataset: RelevanceDataset, chosen: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    """Return the labels as class weights, and the fold of every text; classes are spread over the folds evenly."""
    labels = np.asarray(dataset.batch(chosen)["labels"])
    classes = len(dataset.manifest.label_names or ())
    targets_NC = labels.astype(np.float64) if labels.ndim == 2 else np.eye(classes)[labels]
    if len(chosen) < 2 * FOLDS or not targets_NC.std(axis=0).any():
        found = counted(int(targets_NC.any(axis=0).sum()), "class", "classes")
        raise TrainError(
            f"{dataset.folder}: {counted(len(chosen), 'text')} of {found} are too few to rank heads on {FOLDS} folds. "
            "Use more texts, or name a head (--head 0.mean)."
        )
    order_N = np.random.Generator(np.random.Philox(1)).permutation(len(chosen))
    order_N = order_N[np.argsort(targets_NC[order_N].argmax(axis=1), kind="stable")]
    fold_N = np.empty(len(chosen), np.int64)
    fold_N[order_N] = np.arange(len(chosen)) % FOLDS
    return targets_NC, fold_N


@torch.no_grad()
def _features(
    dataset: RelevanceDataset, chosen: NDArray[np.int64], embeddings_VD: torch.Tensor
) -> NDArray[np.float32]:
    """Return the weighted means of word embeddings by each head spec of the data set, (S, N, D) float32."""
    specs = (dataset.head or "").split("|")
    embeddings_VD = embeddings_VD.detach().float().cpu()
    features_SND = np.empty((len(specs), len(chosen), embeddings_VD.shape[1]), np.float32)
    by_length = np.argsort(dataset.lengths()[chosen], kind="stable")  # little padding
    for begin in range(0, len(chosen), _BATCH):
        places = by_length[begin : begin + _BATCH]
        batch = as_tensors(dataset.batch(chosen[places]))
        relevance_BST = batch["relevance"].reshape(len(places), len(specs), -1)
        content_BT = batch["content"]
        content_XT = content_BT[:, None].expand_as(relevance_BST).reshape(-1, content_BT.shape[1])
        weight_XT = content_relevance(relevance_BST.reshape(content_XT.shape), content_XT, rescale=True)
        weight_XT = weight_XT / content_XT.sum(dim=1, keepdim=True).clamp(min=1)
        words_BTD = embeddings_VD[batch["input_ids"]]
        features_BSD = weight_XT.reshape(relevance_BST.shape) @ words_BTD
        features_SND[:, places] = features_BSD.transpose(0, 1).numpy()
    return features_SND


def _noise(difference_N: Floats) -> float:
    """Return two standard errors of the sum of a difference over texts."""
    return float(2.0 * difference_N.std(ddof=1) * np.sqrt(len(difference_N)))


def _held_out(
    features_ND: NDArray[np.float32], targets_NC: Floats, fold_N: NDArray[np.int64]
) -> tuple[Floats, float]:
    """Return unexplained variance and accuracy, each text being predicted from the folds that it is not in.

    The variance is each text's share of the labels' variance, (N,).
    """
    predicted_NC = np.empty_like(targets_NC)
    total = 0.0
    for fold in range(FOLDS):
        out_N = fold_N == fold
        predicted_NC[out_N] = _ridge(features_ND[~out_N].astype(np.float64), targets_NC[~out_N])(
            features_ND[out_N].astype(np.float64)
        )
        total += float(((targets_NC[out_N] - targets_NC[~out_N].mean(axis=0)) ** 2).sum())
    accuracy = float((predicted_NC.argmax(axis=1) == targets_NC.argmax(axis=1)).mean())
    return ((targets_NC - predicted_NC) ** 2).sum(axis=1) / max(total, 1e-12), accuracy


def _ridge(features_ND: Floats, targets_NC: Floats) -> Callable[[Floats], Floats]:
    """Return the predictor of ridge regression whose strength has the least generalised cross-validation error."""
    mean_D, mean_C = features_ND.mean(axis=0), targets_NC.mean(axis=0)
    left_NK, values_K, right_KD = np.linalg.svd(features_ND - mean_D, full_matrices=False)
    projected_KC = left_NK.T @ (targets_NC - mean_C)
    outside = float(((targets_NC - mean_C) ** 2).sum() - (projected_KC**2).sum())
    scale = float((values_K**2).sum()) / features_ND.shape[1]
    best, shrink_K = np.inf, np.zeros_like(values_K)
    for ridge in _RIDGES * max(scale, 1e-12):
        kept_K = values_K**2 / (values_K**2 + ridge)
        error = outside + float((((1.0 - kept_K)[:, None] * projected_KC) ** 2).sum())
        freedom = 1.0 - (1.0 + kept_K.sum()) / len(features_ND)  # the mean takes one degree
        if error / freedom**2 < best:
            best = error / freedom**2
            shrink_K = values_K / (values_K**2 + ridge)
    weights_DC = right_KD.T @ (shrink_K[:, None] * projected_KC)
    return lambda features_ND: (features_ND - mean_D) @ weights_DC + mean_C
