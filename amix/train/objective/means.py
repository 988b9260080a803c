"""What texts are about, as far as it shows in their words: mean word embeddings.

Axes: B batch, T tokens, V words, D width.
"""

import torch
from torch import Tensor

from amix.loaders.stream.batch import Batch
from amix.train.model.classifier import Model, embeddings_of
from amix.train.model.network import unwrapped


def mean_words(model: Model, batch: Batch) -> Tensor:
    """Return the mean word embedding of each text's content, (B, D) float64, on the model's device.

    It is 0 for a text without content, and has no gradient.
    model: a transformers sequence classifier, whose word embeddings are taken as they are now.
    batch: a loader's, on any device.
    """
    table_VD = embeddings_of(unwrapped(model))
    mask_BT = batch["attention_mask"].bool()
    content_BT1 = (batch.get("content", mask_BT) & mask_BT).to(table_VD.device)[:, :, None]
    words_BTD = table_VD[batch["input_ids"].to(table_VD.device)]
    # In float64, so that the padding of the batch has no say in the last digits of a sum.
    total_BD = torch.where(content_BT1, words_BTD, 0.0).sum(dim=1, dtype=torch.float64)
    return total_BD / content_BT1.sum(dim=1).clamp_min(1)
