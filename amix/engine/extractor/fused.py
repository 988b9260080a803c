"""An encoder cut to relevance whose attention maps are never in memory: what the backend `triton` runs.

The layers run as their family writes them, with PyTorch's fused attention (SDPA) in place of the softmax that they
would do; on the way each layer's queries and keys go through `kernel.received_from`.

Axes: B batch, H heads (of all wanted layers), T tokens, D width of a head.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from amix.engine.base.errors import ExportError
from amix.engine.extractor.interface import Incomplete, InterfaceRelevance, Reached, collector
from amix.engine.extractor.kernel import received_from
from amix.engine.extractor.module import RelevanceModule

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NAME = "amix_fused"  # among transformers' attention functions
_TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}  # relative, in L2 norm


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

    run = collector()
    if run.is_wanted:
        scale = query_BHTD.shape[-1] ** -0.5 if scaling is None else scaling
        run.parts.append(received_from(query_BHTD, key_BHTD, run.mask_BT, scale))
    if run.is_last:
        raise Reached
    run.layer += 1
    output, _ = sdpa_attention_forward(
        module, query_BHTD, key_BHTD, value_BHTD, attention_mask, scaling=scaling, **rest
    )
    return output, None


class FusedRelevance(InterfaceRelevance):
    """What `RelevanceModule` computes, without its maps."""

    def __init__(self, encoder: "PreTrainedModel", layers: Sequence[int], dtype: torch.dtype) -> None:
        """Copy `encoder` up to the deepest of `layers` (ascending)."""
        from transformers import AttentionInterface
        from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

        super().__init__(encoder, layers, dtype)
        AttentionInterface.register(_NAME, _attention)
        AttentionMaskInterface.register(_NAME, sdpa_mask)
        self.attend_by(_NAME)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Return relevance (B, H, T), float32; arguments as of `RelevanceModule`.

        Raises ExportError for a family whose layers do not hand queries and keys to the attention interface.
        """
        try:
            return super().forward(input_ids, attention_mask, token_type_ids)
        except Incomplete as problem:
            raise self._refused(
                f"{problem} hand their queries and keys to transformers' attention interface"
            ) from None

    def require_agreement(self, encoder: "PreTrainedModel", max_length: int) -> None:
        """Raise ExportError unless this module and the encoder's own maps give the same relevance.

        max_length: the most tokens that the encoder takes.
        Biases of positions and windows of local attention are not in queries and keys, so a family that has them
        would be off in silence.
        """
        device, dtype = next(self.parameters()).device, next(self.parameters()).dtype
        reference = RelevanceModule(encoder, self.layers, dtype=dtype).to(device)
        difference = self.disagreement(reference, max_length)
        if not difference <= _TOLERANCE[dtype]:
            raise self._refused(f"its attention is more than queries times keys (off by {difference:.1e})")

    def _refused(self, why: str) -> ExportError:
        # Not `unreadable`, which lists families that can be exported: some of them are refused here.
        return ExportError(
            f"the backend triton cannot run a model of type '{self.model_type}': {why}. Use the backend onnxruntime."
        )
