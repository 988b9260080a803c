"""Runs as teachers: what their models say of texts, together, becomes labels for a student.

Axes: M models, N texts, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amix.engine.base.errors import TrainError
from amix.engine.extractor.pretrained import open_config
from amix.loaders.shards.manifest import Manifest
from amix.loaders.shards.rewrite.relabel import NewLabels
from amix.loaders.stream.dataset import RelevanceDataset
from amix.study.runs import RunRecord, load_dev_predictions
from amix.train.model.classifier import (
    Classifier,
    load_classifier,
    load_tokenizer,
    model_identity,
    require_room,
)
from amix.train.run.accelerator import open_accelerator
from amix.train.run.files import ENSEMBLE, MODEL
from amix.train.score.ensemble import mean_of, temperature_of
from amix.train.score.evaluate import Predictions, predict
from amix.train.score.metrics import log_softmax


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A model of a run.  folder: of the model.  temperature: what its logits are divided by."""

    folder: Path
    temperature: float


def teachers_of(run: Path, *, scaled: bool) -> list[Teacher]:
    """Return the models of a run: that of `model/`, and the others of its ensemble.

    scaled: with the temperature of the run, fitted on its development set or folds.
    Raises TrainError for a folder that is no run or holds no model, and for a run without a temperature.
    """
    RunRecord.read(run)
    members = [run, *sorted((run / ENSEMBLE).glob("*"), key=lambda path: int(path.name))]
    for each in members:
        if not (each / MODEL).is_dir():
            raise TrainError(
                f"{each}: holds no model. Finish its training with --resume; 'amix compare' keeps models with "
                "--keep-models."
            )
    temperature = temperature_of([load_dev_predictions(each) for each in members]) if scaled else 1.0
    if temperature is None:
        raise TrainError(
            f"{run}: has no temperature, because it was trained without --dev. Leave out --scaled, or train it with "
            "--dev (cv:5 needs no texts of its own)."
        )
    return [Teacher(folder=each / MODEL, temperature=temperature) for each in members]


def labels_by(teachers: Sequence[Teacher], shards: Path, device: str | None = None) -> NewLabels:
    """Return the mean of the teachers' probabilities as labels for the texts of a cache.

    With several labels a text, the mean probability of each class by itself. device: as in `open_accelerator`.
    Raises TrainError for teachers with other classes, another kind of labels, or another tokenizer than the cache's.
    """
    place = open_accelerator(device, "no").device
    dataset = RelevanceDataset(shards, head=None)
    names, multi_label = _classes(teachers[0].folder)
    networks: list[Classifier] = []
    for teacher in teachers:
        found, is_multi = _classes(teacher.folder)
        if (found, is_multi) != (names, multi_label):
            raise TrainError(
                f"{teacher.folder}: has {_shown(found, is_multi)}, {teachers[0].folder} has "
                f"{_shown(names, multi_label)}. Teachers must be trained on the same classes in the same order."
            )
        networks.append(_opened(teacher.folder, names, dataset))
        networks[-1].to(place)
    rows = dataset.rows()

    def weights(asked: range) -> NDArray[np.float32]:
        begin, end = np.searchsorted(rows, [asked.start, asked.stop])
        numbers = np.arange(begin, end, dtype=np.int64)
        if not len(numbers):
            return np.zeros((0, len(names)), np.float32)
        said = [
            Predictions(
                logits_NC=predict(network, dataset, numbers=numbers)[0] / teacher.temperature,
                truth=np.full(len(numbers), -1),
                rows=rows[numbers],
                multi_label=multi_label,
            )
            for network, teacher in zip(networks, teachers, strict=True)
        ]
        logits_NC = mean_of(said).logits_NC
        if multi_label:
            return (1 / (1 + np.exp(-logits_NC))).astype(np.float32)
        return np.exp(log_softmax(logits_NC)).astype(np.float32)

    origin = [
        {"model": model_identity(str(each.folder)), "temperature": each.temperature} for each in teachers
    ]
    return NewLabels(names=names, soft=not multi_label, origin=origin, weights=weights)


def _classes(folder: Path) -> tuple[tuple[str, ...], bool]:
    """Return the class names of a model, and whether a text may have several."""
    config: Any = open_config(str(folder))  # of whatever family
    names = tuple(str(config.id2label[number]) for number in range(config.num_labels))
    return names, config.problem_type == "multi_label_classification"


def _opened(folder: Path, names: Sequence[str], dataset: RelevanceDataset) -> Classifier:
    manifest: Manifest = dataset.manifest
    load_tokenizer(str(folder), manifest)
    network = load_classifier(str(folder), names, manifest)
    require_room(network, str(folder), dataset)
    network.eval()
    return network


def _shown(names: Sequence[str], multi_label: bool) -> str:
    several = " (several a text)" if multi_label else ""
    return f"the classes {', '.join(map(repr, names[:20]))}{several}"
