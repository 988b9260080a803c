"""What workers of comparisons and loaders import, imported once for all that a test process starts: see conftest.py."""

import importlib

for name in (
    "accelerate",
    "torch.utils.tensorboard",
    "transformers.models.bert.modeling_bert",
    "transformers.models.bert.tokenization_bert",
    "amix.train.run.train",
):
    importlib.import_module(name)
