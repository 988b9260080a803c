"""Evaluation on a cache, whose classes are matched with the training classes by name.

Axes: N samples, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from amix.engine.base import publish
from amix.engine.base.errors import TrainError
from amix.loaders.shards.manifest import Manifest
from amix.loaders.stream.dataset import RelevanceDataset
from amix.loaders.stream.loader import Reading, RelevanceLoader
from amix.train.model.batch import to_device
from amix.train.model.classifier import Classifier
from amix.train.model.forward import forward
from amix.train.score.metrics import calibration, confidence_gap, questions, reliability, report
from amix.train.score.temperature import fit_temperature

Truth = NDArray[Any]  # int64 ids, or class weights as floats


@dataclass(frozen=True)
class EvalSet:
    """Texts to evaluate on, checked against the training shards.

    class_ids: the id in training of each class of the set.  num_classes: number of classes in training.
    numbers: which samples of the data set they are, ascending; None = all.
    """

    dataset: RelevanceDataset
    class_ids: NDArray[np.int64]
    num_classes: int
    numbers: NDArray[np.int64] | None = None


def label_names(manifest: Manifest) -> tuple[str, ...]:
    """Return the class names of a cache; raise TrainError for a cache without labels or samples."""
    names = manifest.label_names
    if names is None:
        raise TrainError(
            f"{manifest.folder}: holds no labels. Run 'amix precompute' again without --no-labels."
        )
    if manifest.samples == 0:
        raise TrainError(
            f"{manifest.folder}: holds no samples. Every row was rejected; see its rejects.jsonl."
        )
    return names


def match_classes(own: Sequence[str], known: Sequence[str], where: str) -> NDArray[np.int64]:
    """Return the id in `known` of each class in `own`; raise TrainError naming a class that `known` lacks."""
    unknown = [name for name in own if name not in known]
    if unknown:
        raise TrainError(
            f"{where}: has the class {', '.join(map(repr, unknown[:5]))}, which the training shards do not "
            f"have; they have {', '.join(map(repr, known[:20]))}. Precompute it with "
            "--labels-from the training shards."
        )
    return np.array([known.index(name) for name in own], np.int64)


def open_eval_set(folder: str | Path, training: Manifest) -> EvalSet:
    """Open shards for evaluation. A set may lack classes of the training shards, or number them differently.

    Raises TrainError for another tokenizer, another kind of labels, or an unknown class.
    """
    dataset = RelevanceDataset(folder, head=None)
    manifest, known = dataset.manifest, label_names(training)
    own = label_names(manifest)
    if manifest.tokenizer_fingerprint != training.tokenizer_fingerprint:
        raise TrainError(
            f"{folder}: was made with another tokenizer ({manifest.tokenizer_fingerprint[:12]}) than "
            f"{training.folder} ({training.tokenizer_fingerprint[:12]}). "
            "Precompute it with the same extractor."
        )
    if manifest.multi_label != training.multi_label:
        kinds = {True: "class weights", False: "class ids"}
        raise TrainError(
            f"{folder}: holds {kinds[manifest.multi_label]}, the training shards "
            f"{kinds[training.multi_label]}. Precompute both from the same kind of label."
        )
    return EvalSet(dataset, match_classes(own, known, str(folder)), len(known))


def part_of(training: RelevanceDataset, numbers: NDArray[np.int64]) -> EvalSet:
    """Return the samples `numbers`, ascending, of the training shards as a set to evaluate on."""
    classes = len(label_names(training.manifest))
    return EvalSet(training.with_head(None), np.arange(classes), classes, numbers)


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """A classifier's predictions for a set, in corpus order.

    logits_NC: float64.  truth: training ids (N,), or class weights (N, C).  rows: (N,) int64, of the corpus.
    multi_label: a text may have several classes. If not, the largest of its weights counts as its class.
    """

    logits_NC: NDArray[np.float64]
    truth: Truth
    rows: NDArray[np.int64]
    multi_label: bool

    def report(self) -> dict[str, float]:
        """Return `metrics.report` of these predictions."""
        return report(self.logits_NC, self.truth, multi_label=self.multi_label)

    def calibration(self, temperature: float = 1.0) -> dict[str, float]:
        """Return `metrics.calibration` of the logits divided by a temperature."""
        return calibration(self.logits_NC / temperature, self.truth, multi_label=self.multi_label)

    def temperature(self) -> float:
        """Return the temperature that fits this set best."""
        return fit_temperature(*self.questions())

    def reliability(self, temperature: float = 1.0) -> dict[str, list[float]]:
        """Return `metrics.reliability` of the logits divided by a temperature."""
        logits, answers = self.questions()
        return reliability(logits / temperature, answers)

    def confidence_gap(self) -> float:
        """Return `metrics.confidence_gap` of these predictions; with several labels a text, over each class of each."""
        return confidence_gap(*self.questions())

    def questions(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return `metrics.questions` of these predictions."""
        return questions(self.logits_NC, self.truth, multi_label=self.multi_label)

    def save(self, path: Path) -> None:
        """Write logits (float32), truth and rows as a safetensors file."""
        from safetensors.numpy import save

        arrays = {"logits": self.logits_NC.astype(np.float32), "truth": self.truth, "rows": self.rows}
        publish.write_atomic(path, save(arrays, {"multi_label": str(self.multi_label).lower()}))

    @classmethod
    def load(cls, path: Path) -> "Predictions":
        """Read what `save` wrote into a run folder. Raises TrainError for a missing or damaged file."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "numpy") as file:
                arrays = {name: file.get_tensor(name) for name in ("logits", "truth", "rows")}
                multi_label = file.metadata()["multi_label"] == "true"
        except (OSError, SafetensorError, KeyError, TypeError) as problem:
            raise TrainError(
                f"{path}: cannot be read ({problem}). Remove its run, {path.parent.parent}, and repeat the command "
                "that wrote it."
            ) from None
        return cls(
            logits_NC=arrays["logits"].astype(np.float64),
            truth=arrays["truth"],
            rows=arrays["rows"],
            multi_label=multi_label,
        )


def predictions(model: Classifier, evaluation: EvalSet, batch_size: int = 64) -> Predictions:
    """Return a classifier's predictions for a set, in the model's own precision.

    Where several processes were launched, each runs a part of the set. The model stays on its device and is put
    back into its mode. Raises TrainError when a logit is not finite.
    """
    dataset, numbers = evaluation.dataset, evaluation.numbers
    logits_NC, labels = predict(model, dataset, batch_size, numbers)
    if not np.isfinite(logits_NC).all():
        raise TrainError(
            f"{dataset.folder}: the model gives logits that are not finite. Training has diverged; lower --lr."
        )
    multi_label = dataset.manifest.multi_label
    if labels.ndim == 2:
        truth: Truth = np.zeros((len(labels), evaluation.num_classes))
        truth[:, evaluation.class_ids] = labels
    else:
        truth = evaluation.class_ids[labels]
    rows = dataset.rows() if numbers is None else dataset.rows()[numbers]
    return Predictions(logits_NC=logits_NC, truth=truth, rows=rows, multi_label=multi_label)


@torch.no_grad()
def predict(
    model: Classifier,
    dataset: RelevanceDataset,
    batch_size: int = 64,
    numbers: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.float64], Truth]:
    """Return logits (N, C) float64 and labels, (N,) ids or (N, C) weights, in corpus order.

    numbers: of the samples, ascending; None = all.  Labels are -1 where the cache holds none.
    """
    device = next(model.parameters()).device
    asked = np.arange(len(dataset), dtype=np.int64) if numbers is None else numbers
    by_length = asked[np.argsort(dataset.lengths()[asked], kind="stable")]  # little padding, little time
    ranks = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    own = by_length[dist.get_rank() :: ranks] if ranks > 1 else by_length
    was_training = model.training
    model.eval()
    logits: list[torch.Tensor] = []
    labels: list[torch.Tensor] = []
    try:
        reading = Reading(pin_memory=device.type == "cuda")
        for batch in RelevanceLoader(
            dataset, batch_size=batch_size, shuffle="none", subset=own, reading=reading
        ):
            labels.append(batch.get("labels", torch.full((len(batch["input_ids"]),), -1)))
            logits.append(forward(model, to_device(batch, device)).float())
    finally:
        model.train(was_training)
    part = (own, torch.cat(logits).cpu().double().numpy(), torch.cat(labels).numpy()) if logits else None
    parts = [part]
    if ranks > 1:
        parts = [None] * ranks
        dist.all_gather_object(parts, part)
    # With fewer samples than processes, some have no part.
    columns = zip(*(part for part in parts if part is not None), strict=True)
    delivered, logits_NC, truth = (np.concatenate(column) for column in columns)
    place = np.argsort(delivered)
    return logits_NC[place], truth[place]
