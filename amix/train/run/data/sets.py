"""What a run reads: the shards to train on, to select on and to report on, opened and checked against each other."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amix.engine.base.errors import TrainError, UsageError
from amix.loaders.shards.manifest import Manifest
from amix.loaders.stores import shown
from amix.loaders.stream.dataset import RelevanceDataset
from amix.train.options.auto import AUTO
from amix.train.options.config import TrainConfig
from amix.train.options.dev import SAME_TEXTS, Dev, Folds, Share
from amix.train.options.rules import require_set_name
from amix.train.run.data.noise import noisy_labels
from amix.train.run.data.subset import deal_folds, draw_subset, hold_out
from amix.train.score.evaluate import EvalSet, label_names, open_eval_set, part_of

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Sets:
    """The data of a run.

    training: with the relevance to mix by, if any.  subset: numbers of the texts to train on, None = all.
    classes: their names.  dev: the development set, which selects the epoch; None without.
    dev_identity: what the development set is, for a checkpoint to know it again.
    folds: for cross-validation, the numbers of the texts that each holds out, ascending.
    evals: the evaluation sets by name.
    changed_labels: of the texts to train on, how many have a wrong label on purpose; None without `label_noise`.
    """

    training: RelevanceDataset
    subset: NDArray[np.int64] | None
    classes: Sequence[str]
    dev: EvalSet | None
    dev_identity: str | None
    folds: tuple[NDArray[np.int64], ...]
    evals: Mapping[str, EvalSet]
    changed_labels: int | None = None

    @property
    def manifest(self) -> Manifest:
        """The manifest of the training shards."""
        return self.training.manifest

    @property
    def samples(self) -> int:
        """How many texts there are to train on."""
        return len(self.training) if self.subset is None else len(self.subset)

    def fold(self, number: int) -> "Sets":
        """Return the data of a fold's own training: it is held out, and the other folds are trained on."""
        held = self.folds[number]
        rest = np.setdiff1d(_numbers(self.training, self.subset), held)
        return replace(self, subset=rest, dev=part_of(self.training, held), folds=())

    def __iter__(self) -> Iterator[RelevanceDataset]:
        yield self.training
        for each in (self.dev, *self.evals.values()):
            if each is not None:
                yield each.dataset


def reads_cached_relevance(config: TrainConfig) -> bool:
    """Tell whether a run mixes by the relevance in the shards."""
    return "head" in config.uses and config.relevance_source != "online"


def open_sets(
    shards: str | Path,
    config: TrainConfig,
    dev: Dev,
    evals: Sequence[tuple[str, str | Path]],
) -> Sets:
    """Open the data of a run; with head=auto without relevance, since the head is not known yet.

    Raises TrainError, UsageError or ConfigError for sets that do not go together, and for options that need a
    development set.
    """
    for name, value in (("patience", config.patience), ("p auto", config.p == AUTO)):
        if value and dev is None:
            raise UsageError(f"{name} needs --dev, the texts on which each epoch is judged.")
    if config.patience and isinstance(dev, Folds):
        raise UsageError(f"patience cannot be used with --dev {dev}: the last epoch is kept. Leave it out.")
    if config.ensemble == "folds" and not isinstance(dev, Folds):
        raise UsageError("ensemble folds needs --dev cv:K, the folds whose models are kept.")
    for name, _ in evals:
        require_set_name(name, "--eval")

    head = config.head if reads_cached_relevance(config) and config.head != AUTO else None
    training = RelevanceDataset(shards, head=head)
    classes = label_names(training.manifest)
    if len(classes) < 2 and not training.manifest.multi_label:
        raise TrainError(f"{shards}: has the one class {classes[0]!r}; a classifier needs two.")
    subset = draw_subset(len(training), config.samples, config.subset_seed, training.folder)
    is_changed_N = None
    if config.label_noise:
        training, is_changed_N = _with_noise(training, len(classes), config)

    found = _open_dev(dev, training, subset, classes, config.subset_seed)
    eval_sets = {name: open_eval_set(folder, training.manifest) for name, folder in evals}
    if len(eval_sets) < len(evals):
        raise UsageError("two evaluation sets have the same name; give each its own: --eval NAME=SHARDS.")
    for name, folder in evals:
        same, used = eval_sets[name].dataset.manifest.sha256, found.evaluation
        if used is not None and same == used.dataset.manifest.sha256:
            _LOG.warning(
                f"--eval {shown(folder)}: --dev selects on the same shards, so results on them will be optimistic."
            )
    sets = Sets(
        training=training,
        subset=found.subset,
        classes=classes,
        dev=found.evaluation,
        dev_identity=found.identity,
        folds=found.folds,
        evals=eval_sets,
        changed_labels=None if is_changed_N is None else int(is_changed_N[_numbers(training, subset)].sum()),
    )
    _warn_of_single_steps(sets.samples, config)
    return sets


def _warn_of_single_steps(samples: int, config: TrainConfig) -> None:
    batches = config.gradient_accumulation
    if config.batch_size * batches >= samples:
        step = f"{config.batch_size:,}" + (f" x gradient_accumulation {batches}" if batches > 1 else "")
        _LOG.warning(
            f"batch_size {step} takes all {samples:,} training texts at once: an epoch is one step, the run "
            f"{config.epochs:,} in all. Lower --batch-size to learn more from an epoch."
        )


@dataclass(frozen=True, kw_only=True)
class _Dev:
    """What `--dev` stands for. subset: numbers of the texts that are left to train on, None = all."""

    subset: NDArray[np.int64] | None
    identity: str | None = None
    evaluation: EvalSet | None = None
    folds: tuple[NDArray[np.int64], ...] = ()


def _open_dev(
    dev: Dev,
    training: RelevanceDataset,
    subset: NDArray[np.int64] | None,
    classes: Sequence[str],
    seed: int,
) -> _Dev:
    match dev:
        case None:
            return _Dev(subset=subset)
        case Share() | Folds():
            numbers = _numbers(training, subset)
            # Texts with several labels have no class id, and are drawn regardless of their labels.
            labels, identity = training.class_ids()[numbers], f"{dev} of the training texts"
            if isinstance(dev, Folds):
                fold = deal_folds(labels, classes, dev.count, seed)
                folds = tuple(numbers[fold == number] for number in range(dev.count))
                return _Dev(subset=subset, identity=identity, folds=folds)
            is_held = hold_out(labels, dev.value, seed)
            held = part_of(training, numbers[is_held])
            return _Dev(subset=numbers[~is_held], identity=identity, evaluation=held)
        case _:
            opened = open_eval_set(dev, training.manifest)
            if training.manifest.holds_texts_of(opened.dataset.manifest):
                _LOG.warning(SAME_TEXTS)
            return _Dev(subset=subset, identity=opened.dataset.manifest.sha256, evaluation=opened)


def _numbers(training: RelevanceDataset, subset: NDArray[np.int64] | None) -> NDArray[np.int64]:
    return np.arange(len(training), dtype=np.int64) if subset is None else subset


def _with_noise(
    training: RelevanceDataset, classes: int, config: TrainConfig
) -> tuple[RelevanceDataset, NDArray[np.bool_]]:
    """Return the shards with some labels made wrong, and which of them are."""
    if training.manifest.class_weights:
        raise UsageError(
            f"label_noise is {config.label_noise}; the labels of {training.folder} are class weights, and only class "
            "ids can be made wrong. Leave it out."
        )
    true_N = training.class_ids()
    noisy_N = noisy_labels(true_N, classes, config.label_noise, config.noise_kind, config.subset_seed)
    return training.with_labels(noisy_N), noisy_N != true_N
