"""A sampled mix: plain data that says how each row is mixed, and its pure application.

Axes: B batch, T tokens, D width, C classes.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from amix.engine.base.errors import MixingError
from amix.engine.base.sending import sent
from amix.engine.base.words import counted


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How every row of a batch is mixed with its partner. Made by a mixer's `plan`, applied by `mix`.

    partner: (B,) int64, the row mixed in; a row that stays unmixed is its own partner.
    ratio: (B, T) float32 in [0, 1], weight of the row's own vector.
    source: (B, T) int64, the position read in the partner's row.
    label_weight: (B,) float32 in [0, 1], weight of the row's own label.
    attention_mask: (B, T) int64, 1 where the mixed row has a token of either side.
    site: where in the model the plan applies. `embedding` = the word embeddings (`inputs_embeds`);
        `hidden:k` = the hidden states after k layers (transformers' `hidden_states[k]`); in these layers every
        row keeps its own mask. `pooled` = the vector that enters the last linear layer.
    is_identity: True when no row is mixed, so that the caller may skip the work.
    unpaired: rows that stayed unmixed because the batch held no partner of the kind asked for.
    """

    partner: Tensor
    ratio: Tensor
    source: Tensor
    label_weight: Tensor
    attention_mask: Tensor
    site: str = "embedding"
    is_identity: bool = False
    is_aligned: bool = True  # every position is mixed with the partner's same position, which saves a gather
    unpaired: int = 0

    def mix(self, x: Tensor) -> Tensor:
        """Return ratio * x + (1 - ratio) * x[partner, source], in x's dtype and on x's device.

        x: (B, T, D) mixed per token, or (B, D) mixed by the label weight. The argument is not changed.
        Raises MixingError when the batch or token axis does not fit, or for integers.
        """
        if not x.is_floating_point():
            raise MixingError(
                f"cannot mix a tensor of {x.dtype}: token ids are names, not quantities. Mix their embeddings, "
                "plan.mix(model.get_input_embeddings()(input_ids))."
            )
        if self.is_identity:
            return x
        if (
            x.ndim not in (2, 3)
            or x.shape[0] != len(self.partner)
            or (x.ndim == 3 and x.shape[1] != self.ratio.shape[1])
        ):
            raise MixingError(
                f"cannot mix a tensor of shape {tuple(x.shape)} by a plan for {tuple(self.ratio.shape)} "
                "(batch, tokens): give (batch, tokens, width) or (batch, width) of the same batch."
            )
        partner = self.partner.to(x.device)
        if x.ndim == 2:
            other, weight = x.index_select(0, partner), self.label_weight[:, None]
        elif self.is_aligned:
            other, weight = x.index_select(0, partner), self.ratio[:, :, None]
        else:
            other, weight = x[partner[:, None], self.source.to(x.device)], self.ratio[:, :, None]
        # lerp is exact at 0 and 1 and where both sides are equal, so unmixed tokens stay bitwise themselves.
        return torch.lerp(other, x, weight.to(x.device, x.dtype))

    def mix_labels(self, labels: Tensor, num_classes: int, *, check: bool = True) -> Tensor:
        """Return the mixed targets, (B, C) float32: label_weight * y + (1 - label_weight) * y[partner].

        labels: (B,) class ids, or (B, C) floats in [0, 1].  check: see `as_targets`.
        Raises MixingError for an id outside 0..C-1, or floats of another width.
        """
        targets_BC = as_targets(labels, num_classes, check=check)
        if len(targets_BC) != len(self.partner):
            raise MixingError(
                f"{counted(len(targets_BC), 'label')} for a plan of {counted(len(self.partner), 'row')}; pass the "
                "same batch."
            )
        if self.is_identity:
            return targets_BC
        weight = self.label_weight.to(targets_BC.device)[:, None]
        return torch.lerp(targets_BC.index_select(0, self.partner.to(targets_BC.device)), targets_BC, weight)

    def mix_token_types(self, token_type_ids: Tensor) -> Tensor:
        """Return every position's token type: that of the side with the larger ratio, on ties the smaller id.

        token_type_ids: (B, T) integers. Returns the same shape and dtype.
        """
        if self.is_identity:
            return token_type_ids
        device = token_type_ids.device
        other = token_type_ids[self.partner.to(device)[:, None], self.source.to(device)]
        ratio = self.ratio.to(device)
        tied = torch.minimum(token_type_ids, other)
        return torch.where(ratio > 0.5, token_type_ids, torch.where(ratio < 0.5, other, tied))

    def to(self, device: torch.device | str) -> Self:
        """Return the plan with its tensors on `device`."""
        names = ("partner", "ratio", "source", "label_weight", "attention_mask")
        moved: dict[str, Any] = {name: sent(getattr(self, name), torch.device(device)) for name in names}
        return replace(self, **moved)


def joined(plans: Sequence[Plan]) -> Plan:
    """Return one plan for several groups of rows that follow one another in a batch.

    plans: at least one, all (rows, T) of one site.
    """
    if len(plans) == 1:
        return plans[0]
    begins = itertools.accumulate((len(plan.partner) for plan in plans), initial=0)
    return Plan(
        partner=torch.cat([plan.partner + begin for plan, begin in zip(plans, begins, strict=False)]),
        ratio=torch.cat([plan.ratio for plan in plans]),
        source=torch.cat([plan.source for plan in plans]),
        label_weight=torch.cat([plan.label_weight for plan in plans]),
        attention_mask=torch.cat([plan.attention_mask for plan in plans]),
        site=plans[0].site,
        is_identity=all(plan.is_identity for plan in plans),
        is_aligned=all(plan.is_aligned for plan in plans),
        unpaired=sum(plan.unpaired for plan in plans),
    )


def as_targets(labels: Tensor, num_classes: int, *, check: bool = True) -> Tensor:
    """Return labels as class weights, (B, C) float32: ids become one-hot rows, floats are checked.

    check: whether to look at the values, for which the host waits where they are on a GPU; False for labels that were
        looked at before they went there.
    Raises MixingError for an id outside 0..C-1, floats of another width or outside [0, 1].
    """
    if labels.ndim == 1 and not labels.is_floating_point():
        low, high = (int(labels.min()), int(labels.max())) if check and len(labels) else (0, 0)
        if low < 0 or high >= num_classes:
            raise MixingError(
                f"label {low if low < 0 else high} is outside 0..{num_classes - 1}: "
                f"num_classes={num_classes} does not fit the data, or there are rows without a label (-1)."
            )
        return torch.nn.functional.one_hot(labels.long(), num_classes).float()
    if labels.ndim == 2 and labels.is_floating_point():
        if labels.shape[1] != num_classes:
            raise MixingError(
                f"labels are {labels.shape[1]} wide, num_classes is {num_classes}; they must agree."
            )
        if check and not bool(((labels >= 0) & (labels <= 1)).all()):
            raise MixingError("float labels must be class weights in [0, 1] without NaN.")
        return labels.float()
    raise MixingError(
        f"labels of shape {tuple(labels.shape)} and dtype {labels.dtype}: give (batch,) class ids or "
        "(batch, classes) floats."
    )
