"""An encoder cut to relevance: what exporters freeze, and what training runs beside the classifier.

Axes: B batch, H heads (of all wanted layers), T tokens.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from amix.engine.extractor.encoder import Encoder, unreadable
from amix.engine.extractor.folder import RelevanceKind
from amix.engine.extractor.relevance import cls_received, received


class RelevanceModule(nn.Module):
    """From token ids to relevance: the encoder up to its deepest wanted layer, then the reduction."""

    def __init__(
        self,
        encoder: Encoder,
        layers: Sequence[int],
        kind: RelevanceKind = "received",
        *,
        dtype: torch.dtype | None = torch.float32,
        cut: bool = True,
        share: bool = False,
    ) -> None:
        """Copy `encoder` and remove the layers above the deepest of `layers`.

        layers: ascending, within the encoder.
        dtype: of weights and attention, None as they are; the reduction is always float32.
        cut: False keeps all layers, as the reference that a cut graph is compared with.
        share: hold the encoder's own weights, so that what changes them later is seen.
        """
        super().__init__()
        self.layers = tuple(layers)
        self.kind: RelevanceKind = kind
        self.model_type = encoder.model_type
        self.expected = (encoder.shape[0], encoder.shape[1])
        held = (*encoder.model.parameters(), *encoder.model.buffers()) if share else ()
        self.network = copy.deepcopy(encoder.model, {id(tensor): tensor for tensor in held})
        if cut:
            self.expected = (_cut(self.network, self.layers[-1] + 1, encoder.shape[0]), encoder.shape[1])
        if dtype is not None:
            self.network.to(dtype)
        # A decoder's cache of keys and values has no reader here, and its bookkeeping would fix lengths in the graph.
        config: Any = self.network.config
        config.use_cache = False
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
        attentions = getattr(self._outputs(inputs), "attentions", None)
        layers, heads = self.expected
        if not attentions or len(attentions) != layers or any(map_ is None for map_ in attentions):
            raise unreadable(
                self.model_type, f"{len(attentions or ())} attention maps came back for {layers} layers"
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

    def _outputs(self, inputs: dict[str, Tensor]) -> Any:  # noqa: ANN401  a transformers ModelOutput
        try:
            return self.network(**inputs, output_attentions=True, return_dict=True)
        except (TypeError, ValueError) as problem:  # FNet takes no mask; T5 wants a decoder's input
            raise unreadable(self.model_type, f"it cannot be called for them ({problem})") from problem


def _cut(network: nn.Module, keep: int, layers: int) -> int:
    """Remove the layers after the first `keep` of `layers` in place, and return how many are left."""
    config: Any = network.config
    if getattr(config, "num_hidden_groups", 1) > 1:
        # ALBERT derives each layer's group from the number of layers: cutting would regroup them.
        return layers
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ModuleList) and len(child) == layers:
                setattr(parent, name, nn.ModuleList(list(child)[:keep]))
    config.num_hidden_layers = keep
    return keep
