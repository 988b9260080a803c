"""Relevance that is read where layers hand their queries and keys over: transformers' attention interface.

Axes: B batch, H heads (of all wanted layers), T tokens, D width of a head.
"""

import contextlib
import contextvars
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from amix.engine.extractor.encoder import attention_shape
from amix.engine.extractor.module import RelevanceModule
from amix.engine.extractor.pretrained import quiet_transformers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_TEXTS = 2  # texts of the comparison with the encoder's own maps
_LONGEST = 256  # tokens of them: longer than most windows of local attention


class Reached(Exception):
    """All wanted layers have been seen: nothing above them is needed."""


class Incomplete(Exception):
    """Not every wanted layer handed over the queries and keys of all its heads."""


class Collector:
    """What a run hands to its layers, and the relevance that they leave.  layer: the one that runs."""

    def __init__(self, layers: Sequence[int], mask_BT: Tensor) -> None:
        self.layers, self.mask_BT = layers, mask_BT
        self.layer = 0
        self.parts: list[Tensor] = []

    @property
    def is_wanted(self) -> bool:
        """Whether the relevance of the layer that runs is asked for."""
        return self.layer in self.layers

    @property
    def is_last(self) -> bool:
        """Whether nothing above the layer that runs is asked for."""
        return self.layer >= self.layers[-1]


_COLLECTOR: contextvars.ContextVar[Collector] = contextvars.ContextVar("amix_collector")


def collector() -> Collector:
    """Return that of the run that a layer's attention is called in."""
    return _COLLECTOR.get()


class InterfaceRelevance(nn.Module):
    """What `RelevanceModule` computes, by an attention function of its own in layers that are as they were."""

    def __init__(self, encoder: "PreTrainedModel", layers: Sequence[int], dtype: torch.dtype) -> None:
        """Copy `encoder` up to the deepest of `layers` (ascending). `attend_by` names the function."""
        super().__init__()
        own = RelevanceModule(encoder, layers, dtype=dtype)
        self.layers, self.network, self.model_type = own.layers, own.network, own.model_type
        self.heads = attention_shape(encoder.config)[1]

    def attend_by(self, name: str) -> None:
        """Have the layers call the attention function that is registered as `name`."""
        with quiet_transformers():
            self.network.set_attn_implementation(name)
        self.eval()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Return relevance (B, H, T), float32; arguments as of `RelevanceModule`. Raises Incomplete."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        found = Collector(self.layers, attention_mask)
        token = _COLLECTOR.set(found)
        try:
            with contextlib.suppress(Reached):
                self.network(**inputs, return_dict=True)
        finally:
            _COLLECTOR.reset(token)
        if len(found.parts) != len(self.layers) or found.parts[0].shape[1] != self.heads:
            raise Incomplete(f"{len(found.parts)} of {len(self.layers)} layers")
        return torch.cat(found.parts, dim=1)

    @torch.inference_mode()
    def disagreement(self, reference: RelevanceModule, max_length: int) -> float:
        """Return how far relevance is off that of `reference`, relative, in L2 norm.

        max_length: the most tokens that the encoder takes.
        """
        tokens, device = min(_LONGEST, max_length), next(self.parameters()).device
        generator = torch.Generator().manual_seed(0)
        ids_BT = torch.randint(self.network.config.vocab_size, (_TEXTS, tokens), generator=generator).to(
            device
        )
        mask_BT = torch.ones_like(ids_BT)
        mask_BT[1:, tokens // 2 :] = 0
        expected_BHT = reference(ids_BT, mask_BT)
        return float((self(ids_BT, mask_BT) - expected_BHT).norm() / expected_BHT.norm())
