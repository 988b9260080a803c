"""An encoder cut to relevance whose attention is left open, for an exporter to write in its own operators.

The layers run as their family writes them. Each hands its queries, keys and values to `_attention`, which does the
plain softmax, or, while it is exported, leaves a node that `amix.exporters.headwise` replaces by what is faster.

Axes: B batch, H heads (of all wanted layers), T tokens, D width of a head.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from amix.engine.extractor.interface import InterfaceRelevance, collector
from amix.engine.extractor.module import RelevanceModule
from amix.engine.extractor.relevance import received
from amix.exporters.lookup import tabulate

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NODE = "amix::Attention"  # queries, keys, mask -> relevance; with values also -> context

_NAME = "amix_open"  # among transformers' attention functions
_TOLERANCE = 1e-4  # relative, in L2 norm; 1e-6 is usual
_EXCLUDED = -1e30  # added to scores of padding


class Unsupported(Exception):
    """Attention of this family is more than a softmax of queries times keys over the real tokens."""


class OpenRelevance(InterfaceRelevance):
    """What `RelevanceModule` computes for `received`; float32."""

    def __init__(
        self, encoder: "PreTrainedModel", layers: Sequence[int], max_length: int, *, looks_up: bool = False
    ) -> None:
        """Copy `encoder` up to the deepest of `layers` (ascending). max_length: the most tokens that it takes.

        looks_up: read the first layer's projections from tables where that can be done (`amix.exporters.lookup`).

        Raises Unsupported where this is not what the encoder's own attention maps give.
        """
        super().__init__(encoder, layers, torch.float32)
        try:
            _register()
            self.attend_by(_NAME)
            if looks_up:
                tabulate(self.network, self)
            difference = self.disagreement(RelevanceModule(encoder, layers), max_length)
        except Unsupported:
            raise
        except Exception as problem:  # families raise many kinds where they have no such interface
            raise Unsupported(str(problem)) from problem
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
    run = collector()
    query_BHTD = query_BHTD * (query_BHTD.shape[-1] ** -0.5 if scaling is None else scaling)
    mask_BT = run.mask_BT.float()
    is_last = run.is_last  # then nothing that is wanted depends on its values
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
    if run.is_wanted:
        run.parts.append(received_BHT)
    run.layer += 1
    return context_BHTD.transpose(1, 2), None
