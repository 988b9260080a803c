"""An encoder cut to relevance whose attention is left open, for an exporter to write in its own operators.

The layers run as their family writes them. Each hands its queries, keys and values to `_attention`, which does the
plain softmax, or, while it is exported, leaves a node that `amix.exporters.headwise` replaces by what is faster.

Axes: B batch, H heads (of all wanted layers), T tokens, D width of a head.
"""

import contextvars
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from amix.engine.extractor.encoder import attention_shape
from amix.engine.extractor.module import RelevanceModule
from amix.engine.extractor.pretrained import quiet_transformers
from amix.engine.extractor.relevance import received
from amix.exporters.lookup import tabulate

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NODE = "amix::Attention"  # queries, keys, mask -> relevance; with values also -> context

_NAME = "amix_open"  # among transformers' attention functions
_TEXTS = 2  # texts of the comparison with the encoder's own maps
_LONGEST = 256  # tokens of them: longer than most windows of local attention
_TOLERANCE = 1e-4  # relative, in L2 norm; 1e-6 is usual
_EXCLUDED = -1e30  # added to scores of padding


class Unsupported(Exception):
    """Attention of this family is more than a softmax of queries times keys over the real tokens."""


class _Collector:
    """What a run hands to its layers, and the relevance that they leave."""

    def __init__(self, layers: Sequence[int], mask_BT: Tensor) -> None:
        self.layers = layers
        self.mask_BT = mask_BT
        self.layer = 0
        self.parts: list[Tensor] = []


_COLLECTOR: contextvars.ContextVar[_Collector] = contextvars.ContextVar("amix_open_collector")


class OpenRelevance(nn.Module):
    """What `RelevanceModule` computes for `received`, for encoders on transformers' attention interface; float32."""

    def __init__(
        self, encoder: "PreTrainedModel", layers: Sequence[int], max_length: int, *, looks_up: bool = False
    ) -> None:
        """Copy `encoder` up to the deepest of `layers` (ascending). max_length: the most tokens that it takes.

        looks_up: read the first layer's projections from tables where that can be done (`amix.exporters.lookup`).
        Raises Unsupported where this is not what the encoder's own attention maps give.
        """
        super().__init__()
        reference = RelevanceModule(encoder, layers)
        self.layers = reference.layers
        self.heads = attention_shape(encoder.config)[1]
        # A copy of its own: the reference still has to run as the family wrote it.
        self.network = RelevanceModule(encoder, layers).network
        try:
            _register()
            with quiet_transformers():
                self.network.set_attn_implementation(_NAME)
            self.eval()
            if looks_up:
                tabulate(self.network, self)
            self._require_agreement(reference, min(_LONGEST, max_length))
        except Unsupported:
            raise
        except Exception as problem:  # families raise many kinds where they have no such interface
            raise Unsupported(str(problem)) from problem

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
            self.network(**inputs, return_dict=True)
        finally:
            _COLLECTOR.reset(token)
        if len(collector.parts) != len(self.layers) or collector.parts[0].shape[1] != self.heads:
            raise Unsupported(
                f"{len(collector.parts)} of {len(self.layers)} layers used the attention interface"
            )
        return torch.cat(collector.parts, dim=1)

    @torch.inference_mode()
    def _require_agreement(self, reference: RelevanceModule, tokens: int) -> None:
        generator = torch.Generator().manual_seed(0)
        ids_BT = torch.randint(self.network.config.vocab_size, (_TEXTS, tokens), generator=generator)
        mask_BT = torch.ones_like(ids_BT)
        mask_BT[1:, tokens // 2 :] = 0
        expected_BHT = reference(ids_BT, mask_BT)
        difference = float((self(ids_BT, mask_BT) - expected_BHT).norm() / expected_BHT.norm())
        if not difference <= _TOLERANCE:
            raise Unsupported(f"off by {difference:.1e}")


def _register() -> None:
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(_NAME, _attention)
    AttentionMaskInterface.register(_NAME, _key_mask)


def _key_mask(
    *,
    mask_function: object,
    attention_mask: Tensor | None = None,
    **_: Any,  # noqa: ANN401  of transformers
) -> Tensor:
    """Return a mask (B, 1, 1, T), True = real token, where it is all that restricts attention."""
    from transformers.masking_utils import bidirectional_mask_function

    if attention_mask is None or mask_function is not bidirectional_mask_function:
        raise Unsupported("its mask is more than padding")
    return attention_mask[:, None, None, :].bool()


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
    if attention_mask is None or attention_mask.dtype != torch.bool:  # not made by `_key_mask`
        raise Unsupported("it makes a mask of its own")
    if key_BHTD.shape[1] != query_BHTD.shape[1]:
        raise Unsupported("its heads share keys")
    collector = _COLLECTOR.get()
    query_BHTD = query_BHTD * (query_BHTD.shape[-1] ** -0.5 if scaling is None else scaling)
    mask_BT = collector.mask_BT.float()
    is_last = collector.layer >= collector.layers[-1]  # nothing that is wanted depends on its values
    if torch.compiler.is_exporting():
        received_BHT, *context = torch.onnx.ops.symbolic_multi_out(
            NODE,
            (query_BHTD, key_BHTD, mask_BT, *([] if is_last else [value_BHTD])),
            dtypes=[torch.float32] * (1 if is_last else 2),
            shapes=[query_BHTD.shape[:3], value_BHTD.shape][: 1 if is_last else 2],
            version=1,
        )
        context_BHTD = context[0] if context else value_BHTD
    else:
        excluded_B11T = (1 - mask_BT)[:, None, None, :] * _EXCLUDED
        map_BHTT = (query_BHTD @ key_BHTD.transpose(2, 3) + excluded_B11T).softmax(dim=3)
        context_BHTD, received_BHT = map_BHTT @ value_BHTD, received(map_BHTT, mask_BT)
    if collector.layer in collector.layers:
        collector.parts.append(received_BHT)
    collector.layer += 1
    return context_BHTD.transpose(1, 2), None
