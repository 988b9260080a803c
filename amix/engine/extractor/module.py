"""An encoder cut to relevance: what exporters freeze, and what training runs beside the classifier.

Axes: B batch, H heads (of all wanted layers), T tokens.
"""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from amix.engine.extractor.encoder import attention_shape, unreadable
from amix.engine.extractor.folder import RelevanceKind
from amix.engine.extractor.relevance import cls_received, received

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class RelevanceModule(nn.Module):
    """From token ids to relevance: the encoder up to its deepest wanted layer, then the reduction."""

    def __init__(
        self,
        encoder: "PreTrainedModel",
        layers: Sequence[int],
        kind: RelevanceKind = "received",
        *,
        dtype: torch.dtype | None = torch.float32,
        cut: bool = True,
        share: bool = False,
    ) -> None:
        """Copy `encoder` and remove the layers above the deepest of `layers`.

        encoder: any transformers model whose layers return attention weights; it is not changed.
        layers: ascending, within the encoder.
        dtype: of weights and attention, None as they are; the reduction is always float32.
        cut: False keeps all layers, for the reference that a cut graph is compared with.
        share: use the encoder's own weights, so that later changes to them are seen.
        """
        super().__init__()
        self.layers = tuple(layers)
        self.kind: RelevanceKind = kind
        self.model_type = str(encoder.config.model_type)
        layers_held, heads = attention_shape(encoder.config)
        held = (*encoder.parameters(), *encoder.buffers()) if share else ()
        self.network = copy.deepcopy(encoder, {id(tensor): tensor for tensor in held})
        if cut:
            layers_held = _cut(self.network, self.layers[-1] + 1, layers_held)
        self.expected = (layers_held, heads)
        if dtype is not None:
            self.network.to(dtype)  # type: ignore[arg-type]  # transformers' wrapper hides torch's overloads
        # Nobody reads a decoder's cache of keys and values here, and its bookkeeping would fix lengths in the graph.
        self.network.config.use_cache = False
        self.eval()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Return relevance (B, H, T), float32, heads in the order (layer, head).

        input_ids, attention_mask, token_type_ids: (B, T) int64.
        Raises ExportError when the model does not return one (B, heads, T, T) map per layer.
        """
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        attentions = self._attentions(inputs)
        layers, heads = self.expected
        if len(attentions) != layers or any(map_ is None for map_ in attentions):
            raise unreadable(
                self.model_type, f"{len(attentions)} attention maps came back for {layers} layers"
            )
        batch, tokens = input_ids.shape
        reduce = received if self.kind == "received" else cls_received
        parts = []
        for layer in self.layers:
            if attentions[layer].shape != (batch, heads, tokens, tokens):
                raise unreadable(
                    self.model_type,
                    f"layer {layer} gave a map of shape {tuple(attentions[layer].shape)} instead of "
                    f"{(batch, heads, tokens, tokens)}",
                )
            parts.append(reduce(attentions[layer], attention_mask))
        return torch.cat(parts, dim=1)

    def _attentions(self, inputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
        try:
            output = self.network(**inputs, output_attentions=True, return_dict=True)
        except (TypeError, ValueError) as problem:  # FNet takes no mask; T5 needs a decoder's input
            raise unreadable(self.model_type, f"the model cannot be called ({problem})") from problem
        return getattr(output, "attentions", None) or ()


def _cut(network: "PreTrainedModel", keep: int, layers: int) -> int:
    """Remove the layers after the first `keep` of `layers` in place, and return how many are left."""
    if getattr(network.config, "num_hidden_groups", 1) > 1:
        # ALBERT derives each layer's group from the number of layers: cutting would regroup them.
        return layers
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ModuleList) and len(child) == layers:
                setattr(parent, name, nn.ModuleList(list(child)[:keep]))
    network.config.num_hidden_layers = keep
    return keep
