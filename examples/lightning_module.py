#!/usr/bin/env python
"""Mixing in a LightningModule, with `Objective`, which knows every method and every site.

python examples/lightning_module.py [--model ENCODER] [--shards FOLDER] [--epochs N]
"""

import logging
import warnings
from typing import Any

try:
    import lightning
except ImportError as problem:
    raise SystemExit(
        f"examples/lightning_module.py needs lightning ({problem}). Install it with: pip install lightning"
    ) from None
import torch
from sample_set import SampleSet, sample_set, show
from torch import Tensor
from torch.utils.data import DataLoader

from amix import AttentionMix, NoMix
from amix.engine.mixing.mixer import Mixer
from amix.engine.mixing.partners import step_generator
from amix.loaders.stream.batch import Batch
from amix.train.hf import RelevanceCollator
from amix.train.model.forward import forward
from amix.train.objective import Objective


class MixedClassifier(lightning.LightningModule):
    """A transformers classifier that is trained on mixed batches and evaluated on plain ones."""

    def __init__(self, network: Any, objective: Objective, seed: int = 0) -> None:  # noqa: ANN401  a classifier
        super().__init__()
        # transformers loads models in evaluation mode, and Lightning does not change a module's mode.
        self.network, self.objective, self.seed = network.train(), objective, seed

    def training_step(self, batch: Batch, number: int) -> Tensor:
        """Sample a plan and return the loss that it leads to."""
        # The plan depends on these four numbers alone, so a run that is resumed mixes as it would have without a stop.
        generator = step_generator(self.seed, self.current_epoch, number, group=self.global_rank)
        plan = self.objective.plan(self.network, batch, generator)
        return self.objective.loss(self.network, batch, plan)

    def predict_step(self, batch: Batch, number: int) -> tuple[Tensor, Tensor]:
        """Return logits and labels of a batch as it is."""
        return forward(self.network, batch), batch["labels"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return torch.optim.AdamW(self.parameters(), lr=1e-4, fused=True)


def train_and_predict(samples: SampleSet, mixer: Mixer) -> tuple[Tensor, Tensor]:
    """Return logits and labels of the test sentences from a classifier trained with `mixer`."""
    lightning.seed_everything(0, verbose=False)
    module = MixedClassifier(
        samples.classifier(), Objective(mixer=mixer, num_classes=samples.train.num_classes)
    )
    collate = RelevanceCollator(samples.train)
    trainer = lightning.Trainer(
        max_epochs=samples.epochs,
        accelerator="auto",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(samples.train, batch_size=8, shuffle=True, collate_fn=collate))
    found: Any = trainer.predict(module, DataLoader(samples.test, batch_size=64, collate_fn=collate))
    logits, labels = zip(*found, strict=True)  # of what predict_step returned
    return torch.cat(logits), torch.cat(labels)


if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")  # memory-mapped shards need none
    warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated")  # between lightning and torch
    with sample_set(__doc__) as samples:
        # Half of the rows are mixed; to learn from mixed rows alone takes more epochs than an example has.
        mixers: dict[str, Mixer] = {"plain": NoMix(), "mixed": AttentionMix(p=0.5)}
        show({name: train_and_predict(samples, mixer) for name, mixer in mixers.items()})
