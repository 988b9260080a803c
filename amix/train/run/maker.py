"""The runs of one folder: that of `model/`, those of folds, and those of an ensemble's further models."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from amix.engine.base import canonical
from amix.train.model.classifier import Classifier, load_classifier
from amix.train.options.config import TrainConfig
from amix.train.run.accelerator import seeded
from amix.train.run.data.sets import Sets
from amix.train.run.log import MetricsLog
from amix.train.run.loop import Run


def load_network(model: str, sets: Sets, seed: int, accelerator: Accelerator) -> Classifier:
    """Return the classifier before training, on its device; a new head is drawn from `seed`."""
    with seeded(seed, accelerator.device):
        network = load_classifier(model, sets.classes, sets.manifest)
    network.to(accelerator.device)
    return network


@dataclass(frozen=True, kw_only=True)
class RunMaker:
    """What the runs of one folder have in common.

    config, sets: of the run of `model/`.  tokenizer: to publish a model with.  identity: what decides the outcome.
    """

    config: TrainConfig
    accelerator: Accelerator
    model: str
    sets: Sets
    tokenizer: Any  # a transformers tokenizer
    out: Path
    identity: Mapping[str, object]

    @property
    def writes(self) -> bool:
        """Whether this process writes, for all."""
        return bool(self.accelerator.is_main_process)

    def main(self, network: Classifier) -> Run:
        """Return the run of `model/`."""
        return Run(self.config, self.accelerator, network, self.sets, self.out, dict(self.identity))

    def other(self, sets: Sets, seed: int) -> Run:
        """Return another run, on other texts or with another seed.

        It writes no checkpoints: where it was not finished, it is trained again.
        """
        config = replace(self.config, seed=seed, checkpoint_steps=None)
        network = load_network(self.model, sets, seed, self.accelerator)
        return Run(config, self.accelerator, network, sets, self.out, dict(self.identity))

    def silent_log(self) -> MetricsLog:
        """Return a log for the other runs, which writes nothing."""
        return MetricsLog(self.out, 0, writes=False)

    def key(self, part: str) -> str:
        """Return what a finished part of the run is known by."""
        evals = {name: each.dataset.manifest.sha256 for name, each in self.sets.evals.items()}
        return canonical.digest({**self.identity, "evals": evals, "part": part})
