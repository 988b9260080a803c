#!/usr/bin/env python
"""Mixing in the Hugging Face Trainer: its TrainingArguments, its checkpoints, its evaluation.

python examples/hf_trainer.py [--model ENCODER] [--shards FOLDER] [--epochs N]
"""

import tempfile

import torch
from numpy.typing import ArrayLike
from sample_set import SampleSet, sample_set, show
from transformers import TrainingArguments, set_seed

from amix import AttentionMix, NoMix
from amix.train.hf import AmixTrainer, RelevanceCollator


def train_and_predict(samples: SampleSet, mixer: AttentionMix | NoMix) -> tuple[ArrayLike, ArrayLike]:
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
            dataloader_pin_memory=torch.cuda.is_available(),
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
    return found.predictions, found.label_ids


if __name__ == "__main__":
    with sample_set(__doc__) as samples:
        # Of few sentences in few passes, half are mixed: all of them would be learnt too slowly.
        mixers = {"plain": NoMix(), "mixed": AttentionMix(p=0.5)}
        show({name: train_and_predict(samples, mixer) for name, mixer in mixers.items()})
