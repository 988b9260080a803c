"""Relevance from the model in training, as the source of AttentionMix reads it: an attention pass in every step.

Axes: B batch, H heads, S head specs, T tokens.
"""

from typing import Any

import torch
from torch import Tensor

from amix.engine.base.heads import HeadSpec
from amix.engine.extractor.encoder import attention_shape, remove_pooler
from amix.engine.extractor.folder import RelevanceKind
from amix.engine.extractor.module import RelevanceModule
from amix.engine.extractor.pretrained import quiet_transformers
from amix.loaders.stream.batch import Batch
from amix.train.model.classifier import Model, takes_token_types
from amix.train.model.network import unwrapped


class OnlineRelevance:
    """What `amix precompute` would cache, computed by the model as it is now instead of by a frozen encoder.

    A view of the model's encoder shares its weights, ends after the deepest layer asked for, attends eagerly
    (fused attention gives no weights) and never drops out. The source reads its ratios in the training pass
    itself; apart from dropout the numbers are the same.

    model: a transformers sequence classifier.  head: a head spec, or several with `|`, all of which are returned.
    kind: `received` or `cls`.
    Raises HeadError for a head that the model does not have, ExportError where its attention cannot be read.
    """

    def __init__(self, model: Model, head: str, kind: RelevanceKind = "received") -> None:
        network = unwrapped(model)
        self._takes_types = takes_token_types(network)
        layers, heads = attention_shape(network.config)
        available = [(layer, number) for layer in range(layers) for number in range(heads)]
        picked = [spec.indices(available, "the model") for spec in HeadSpec.parse_several(head)]
        wanted = sorted({available[position][0] for spec in picked for position in spec})
        kept = [position for position, (layer, _) in enumerate(available) if layer in wanted]
        self._rows = [[kept.index(position) for position in spec] for spec in picked]
        self._module = RelevanceModule(network.base_model, wanted, kind, dtype=None, share=True)
        view: Any = self._module.network
        with quiet_transformers():
            view.set_attn_implementation("eager")
        remove_pooler(view)
        self._module.require_probabilities()

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Tensor:
        """Return relevance, (B, T) float32, or (B, S, T) where several head specs were asked for."""
        types = batch.get("token_type_ids") if self._takes_types else None
        relevance_BHT = self._module(batch["input_ids"], batch["attention_mask"], types)
        specs = [relevance_BHT[:, rows].mean(dim=1) for rows in self._rows]
        return specs[0] if len(specs) == 1 else torch.stack(specs, dim=1)
