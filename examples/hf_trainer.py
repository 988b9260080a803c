#!/usr/bin/env python
"""Mixing in the Hugging Face Trainer: its TrainingArguments, its checkpoints, its evaluation.

python examples/hf_trainer.py [--model ENCODER] [--shards FOLDER] [--epochs N]
"""

import tempfile

import numpy as np
from numpy.typing import ArrayLike
from sample_set import SampleSet, sample_set, show
from transformers import TrainingArguments, set_seed

from amix import AttentionMix, NoMix
from amix.engine.mixing.mixer import Mixer
from amix.train.hf import AmixTrainer, RelevanceCollator


def train_and_predict(samples: SampleSet, mixer: Mixer) -> tuple[ArrayLike, ArrayLike]:
    """Return logits and labels of the test sentences from a classifier trained with `mixer`."""
    set_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=8,
            per_device_eval_batch_size=64,
            num_train_epochs=samples.epochs,
            learning_rate=1e-4,
            seed=0,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = AmixTrainer(
            model=samples.classifier(),
            args=arguments,
            data_collator=RelevanceCollator(samples.train),
            train_dataset=samples.train,
            mixer=mixer,
        )
        trainer.train()
        found = trainer.predict(samples.test)
    assert isinstance(found.predictions, np.ndarray) and isinstance(found.label_ids, np.ndarray)
    return found.predictions, found.label_ids


if __name__ == "__main__":
    with sample_set(__doc__) as samples:
        # Half of the rows are mixed; to learn from mixed rows alone takes more epochs than an example has.
        mixers: dict[str, Mixer] = {"plain": NoMix(), "mixed": AttentionMix(p=0.5)}
        show({name: train_and_predict(samples, mixer) for name, mixer in mixers.items()})
