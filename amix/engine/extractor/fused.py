"""An encoder cut to relevance whose attention maps are never in memory: what the backend `triton` runs.

The layers run as their family writes them, with PyTorch's fused attention (SDPA) in place of the softmax that they
would do; on the way each layer's queries and keys go through `kernel.received_from`.

Axes: B batch, H heads (of all wanted layers), T tokens, D width of a head.
"""

import contextlib
import contextvars
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from amix.engine.extractor.encoder import attention_shape, unreadable
from amix.engine.extractor.kernel import received_from
from amix.engine.extractor.module import RelevanceModule
from amix.engine.extractor.pretrained import quiet_transformers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NAME = "amix_fused"  # among transformers' attention functions
_TEXTS = 2  # texts of the comparison with the encoder's own maps
_LONGEST = 256  # tokens of them: longer than the windows of local attention, which the kernel does not know
_TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}  # relative, in L2 norm


class _Reached(Exception):
    """All wanted layers have been seen: nothing above them is needed."""


class _Collector:
    """Takes queries and keys of each layer as it runs, and keeps the relevance of the wanted ones."""

    def __init__(self, layers: Sequence[int], mask_BT: Tensor) -> None:
        self._layers, self._mask_BT = layers, mask_BT
        self._layer = 0
        self.parts: list[Tensor] = []

    def add(self, query_BHTD: Tensor, key_BHTD: Tensor, scale: float) -> None:
        if self._layer in self._layers:
            self.parts.append(received_from(query_BHTD, key_BHTD, self._mask_BT, scale))
        if self._layer == self._layers[-1]:
            raise _Reached
        self._layer += 1


_COLLECTOR: contextvars.ContextVar[_Collector] = contextvars.ContextVar("amix_collector")


def _attention(
    module: nn.Module,
    query_BHTD: Tensor,
    key_BHTD: Tensor,
    value_BHTD: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **rest: Any,  # noqa: ANN401  what a family passes on to every attention function
) -> tuple[Tensor, None]:
    """One layer's attention, as transformers' attention interface calls it."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    scale = query_BHTD.shape[-1] ** -0.5 if scaling is None else scaling
    _COLLECTOR.get().add(query_BHTD, key_BHTD, scale)
    output, _ = sdpa_attention_forward(
        module, query_BHTD, key_BHTD, value_BHTD, attention_mask, scaling=scaling, **rest
    )
    return output, None


class FusedRelevance(nn.Module):
    """What `RelevanceModule` computes, without its maps, for encoders on transformers' attention interface."""

    def __init__(self, encoder: "PreTrainedModel", layers: Sequence[int], dtype: torch.dtype) -> None:
        """Copy `encoder` up to the deepest of `layers` (ascending).

        Raises ExportError for a family whose layers do not hand queries and keys to the attention interface.
        """
        from transformers import AttentionInterface
        from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

        super().__init__()
        reference = RelevanceModule(encoder, layers, dtype=dtype)
        self.layers = reference.layers
        self.heads = attention_shape(encoder.config)[1]
        self.model_type = reference.model_type
        self.network = reference.network
        AttentionInterface.register(_NAME, _attention)
        AttentionMaskInterface.register(_NAME, sdpa_mask)
        with quiet_transformers():
            self.network.set_attn_implementation(_NAME)
        self.eval()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Return relevance (B, H, T), float32; arguments as of `RelevanceModule`."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        collector = _Collector(self.layers, attention_mask)
        token = _COLLECTOR.set(collector)
        try:
            with contextlib.suppress(_Reached):
                self.network(**inputs)
        finally:
            _COLLECTOR.reset(token)
        if len(collector.parts) != len(self.layers) or collector.parts[0].shape[1] != self.heads:
            raise unreadable(
                self.model_type,
                f"{len(collector.parts)} of {len(self.layers)} layers hand their queries and keys to transformers' "
                "attention interface, which the backend triton reads; run it with the backend onnxruntime",
            )
        return torch.cat(collector.parts, dim=1)

    @torch.inference_mode()
    def require_agreement(self, encoder: "PreTrainedModel", max_length: int) -> None:
        """Raise ExportError unless this module and the encoder's own maps give the same relevance.

        max_length: the most tokens that the encoder takes.
        Biases of positions and windows of local attention are not in queries and keys, so a family that has them
        would be off in silence.
        """
        device, dtype = next(self.parameters()).device, next(self.parameters()).dtype
        reference = RelevanceModule(encoder, self.layers, dtype=dtype).to(device)
        tokens = min(_LONGEST, max_length)
        generator = torch.Generator().manual_seed(0)
        ids_BT = torch.randint(encoder.config.vocab_size, (_TEXTS, tokens), generator=generator).to(device)
        mask_BT = torch.ones_like(ids_BT)
        mask_BT[1:, tokens // 2 :] = 0
        expected_BHT = reference(ids_BT, mask_BT)
        difference = float((self(ids_BT, mask_BT) - expected_BHT).norm() / expected_BHT.norm())
        if not difference <= _TOLERANCE[dtype]:
            raise unreadable(
                self.model_type,
                f"its attention is more than queries times keys (off by {difference:.1e}), which the backend triton "
                "does not read; run it with the backend onnxruntime",
            )
