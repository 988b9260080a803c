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

    def require_probabilities(self) -> None:
        """Raise ExportError where what the layers return as attention is no softmax: rows that do not sum to 1.

        It is tried on one text of three tokens. (SqueezeBERT returns the scores before the softmax.)
        """
        device = next(self.network.parameters()).device
        ids_BT = torch.full((1, 3), self.network.config.vocab_size // 2, device=device)
        with torch.no_grad():
            relevance_BHT = self(ids_BT, torch.ones_like(ids_BT))
        sums_BH = relevance_BHT.sum(dim=2)
        if not torch.allclose(sums_BH, torch.full_like(sums_BH, 3.0), rtol=0.01) or relevance_BHT.min() < 0:
            raise unreadable(
                self.model_type, "its layers return scores, not probabilities: the rows do not sum to 1"
            )

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
    _cut_lists(network, keep, layers)
    network.config.num_hidden_layers = keep
    return keep


def _cut_lists(parent: nn.Module, keep: int, layers: int) -> None:
    for name, child in list(parent.named_children()):
        if isinstance(child, nn.ModuleList) and len(child) == layers:
            # Not inside it: a layer may have as many parts as there are layers (MobileBERT's feed-forward networks).
            setattr(parent, name, nn.ModuleList(list(child)[:keep]))
            if getattr(parent, "n_layers", None) == layers:
                setattr(parent, "n_layers", keep)  # noqa: B010  by which XLM and Flaubert count, and nn.Module has none
        else:
            _cut_lists(child, keep, layers)
