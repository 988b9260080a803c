"""Mixing in the Hugging Face Trainer."""

from amix.train.hf.collator import RelevanceCollator
from amix.train.hf.trainer import AmixTrainer

__all__ = ["AmixTrainer", "RelevanceCollator"]
