"""AttentionMix: per-token mixing ratios from the attention that each token receives.

Axes: B batch, T tokens.
The rules are numbered in docs/architecture.md, section 4.
"""

from dataclasses import dataclass
from typing import get_args

import torch
from torch import Generator, Tensor

from amix.engine.base.errors import UsageError
from amix.engine.mixing.checks import require_alpha, require_between, require_one_of
from amix.engine.mixing.choices import LabelWeight, Special, Tail
from amix.engine.mixing.mixer import Mixer, Need, Pairs, Ratios, draw_beta, whole_where_alone
from amix.engine.mixing.site import hidden_layer


@dataclass(frozen=True, kw_only=True)
class AttentionMix(Mixer):
    """Per-token ratios from the attention that each token receives (AttentionMix, arXiv 2309.11104).

    The source's summary prints no equations; rules 3 to 8 of docs/architecture.md say how it is read here.

    level: where to mix; `embedding` = the word embeddings, as in the source; `hidden:k` = the hidden states after
        k layers (mixing of encodings is the source's open question).
    label_weight: `ratio` = mean ratio over the content of both texts; `mass` = share of relevance mixed in.
    special: `drop` sets the relevance of special tokens to 0; `keep` lets them count like words.
    strength: s in [0, 1] pulls every ratio and label weight toward the row's own side, 1 - s (1 - ratio).
    sharpness: k >= 0 in ratio = sigmoid(k (log r_a - log r_b)); 1 = r_a / (r_a + r_b), 0 = one half.
    alpha: draws a weight t from Beta(alpha, alpha) for every pair, as other mixups do, and takes the ratio
        t r_a / (t r_a + (1 - t) r_b), so that some pairs are nearly clean and others even. None: t = 1/2 for all pairs,
        as in the source.
    tail: what becomes of a longer partner's words that face a row's padding: `keep` mixes them in whole (rule 4),
        `drop` leaves them out, so that a mixed row is as long as the row itself.
    """

    level: str = "embedding"
    label_weight: LabelWeight = "ratio"
    special: Special = "drop"
    strength: float = 1.0
    sharpness: float = 1.0
    alpha: float | None = None
    tail: Tail = "keep"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.level != "embedding" and hidden_layer(self.level) is None:
            raise UsageError(
                f"level is '{self.level}'; it must be embedding, or hidden:K to mix after K layers."
            )
        require_one_of("label_weight", self.label_weight, get_args(LabelWeight))
        require_one_of("special", self.special, get_args(Special))
        require_between("strength", self.strength, 0.0, 1.0)
        require_between("sharpness", self.sharpness, 0.0, 1e3)
        require_one_of("tail", self.tail, get_args(Tail))
        if self.alpha is not None:
            require_alpha(self.alpha)

    @property
    def reads(self) -> frozenset[Need]:
        """Relevance."""
        return frozenset({"relevance"})

    @property
    def sites(self) -> tuple[str, ...]:
        """The level."""
        return (self.level,)

    def _ratios(self, pairs: Pairs, generator: Generator | None) -> Ratios:
        assert pairs.relevance_BT is not None
        mask_BT = pairs.mask_BT
        content_BT = pairs.content_BT if self.special == "drop" else mask_BT
        own_BT = content_relevance(pairs.relevance_BT, content_BT, rescale=self.special == "drop")
        other_BT = pairs.facing(own_BT)
        token_a_BT, token_b_BT = mask_BT, pairs.facing(mask_BT)
        has_own_BT, has_other_BT = content_BT, pairs.facing(content_BT)
        if self.tail == "drop":
            token_b_BT, has_other_BT = token_b_BT & mask_BT, has_other_BT & mask_BT

        tilt_B1 = None
        if self.alpha is not None:
            tilt_B = draw_beta(self.alpha, len(mask_BT), generator)
            # Kept off 0 and 1, so that a token with relevance on one side only still belongs to that side.
            tilt_B1 = tilt_B.clamp(1e-4, 1 - 1e-4)[:, None].to(mask_BT.device)
        ratio_BT = pair_ratio(own_BT, other_BT, self.sharpness, tilt_B1)
        ratio_BT = whole_where_alone(ratio_BT, has_own_BT, has_other_BT)

        union_BT = has_own_BT | has_other_BT
        weight_B = self._label_weight(ratio_BT, own_BT, other_BT, union_BT)

        # Where neither side has content, special tokens and padding face each other (rule 4).
        rest_BT = whole_where_alone(weight_B[:, None].expand(mask_BT.shape), token_a_BT, token_b_BT)
        rest_BT = torch.where(token_a_BT | token_b_BT, rest_BT, 1.0)
        ratio_BT = torch.where(union_BT, ratio_BT, rest_BT)
        if self.strength != 1.0:
            ratio_BT = 1.0 - self.strength * (1.0 - ratio_BT)
            weight_B = 1.0 - self.strength * (1.0 - weight_B)
        return Ratios(ratio_BT=ratio_BT, weight_B=weight_B, site=self.level)

    def _label_weight(self, ratio_BT: Tensor, own_BT: Tensor, other_BT: Tensor, union_BT: Tensor) -> Tensor:
        weight_B = _share((ratio_BT * union_BT).sum(dim=1), union_BT.sum(dim=1).float(), 0.5)
        if self.label_weight == "mass":
            own_B = (ratio_BT * own_BT).sum(dim=1)
            # Without the tail, the words left in a pair may have no relevance at all. Then the mean ratio is used.
            weight_B = _share(own_B, own_B + ((1.0 - ratio_BT) * other_BT).sum(dim=1), weight_B)
        return weight_B


def _share(part_B: Tensor, whole_B: Tensor, otherwise: Tensor | float) -> Tensor:
    # The clamps change something only if the whole is 0, or where rounding leads out of [0, 1].
    return torch.where(whole_B > 0, part_B / whole_B.clamp_min(1e-30), otherwise).clamp(0.0, 1.0)


def content_relevance(relevance_BT: Tensor, content_BT: Tensor, *, rescale: bool = True) -> Tensor:
    """Return relevance that is 0 outside content and has mean 1 over each row's content (rule 3).

    relevance_BT: floats >= 0.  content_BT: bool.  rescale=False keeps the values of content as they are.
    A row whose content has no relevance at all counts as uniform: 1 everywhere. Returns float32.
    """
    kept_BT = torch.where(content_BT, relevance_BT.float(), 0.0)
    count_B1 = content_BT.sum(dim=1, keepdim=True).float()
    total_B1 = kept_BT.sum(dim=1, keepdim=True)
    if rescale:
        # First divided by the row's largest value, so that sums of huge or tiny values neither overflow nor vanish.
        peak_B1 = kept_BT.amax(dim=1, keepdim=True) if kept_BT.shape[1] else total_B1
        kept_BT = kept_BT / torch.where(peak_B1 > 0, peak_B1, 1.0)
        total_B1 = kept_BT.sum(dim=1, keepdim=True)
        kept_BT = kept_BT * (count_B1 / torch.where(total_B1 > 0, total_B1, 1.0))
    return torch.where(total_B1 > 0, kept_BT, content_BT.float())


def pair_ratio(
    own_BT: Tensor, other_BT: Tensor, sharpness: float = 1.0, tilt_B1: Tensor | None = None
) -> Tensor:
    """Return own^k / (own^k + other^k), 0.5 where both are 0 (rule 4; k is the sharpness of rule 8).

    Both arguments: (B, T) float32 >= 0. Scaling by the larger one first keeps powers from overflowing.
    tilt_B1: in (0, 1), the result where both sides have the same relevance; None = 0.5.
    """
    peak_BT = torch.maximum(own_BT, other_BT)
    scale_BT = torch.where(peak_BT > 0, peak_BT, 1.0)
    own_BT, other_BT = own_BT / scale_BT, other_BT / scale_BT
    if sharpness != 1.0:
        own_BT, other_BT = own_BT.pow(sharpness), other_BT.pow(sharpness)
    if tilt_B1 is None:
        return torch.where(peak_BT > 0, own_BT / torch.where(peak_BT > 0, own_BT + other_BT, 1.0), 0.5)
    own_BT, other_BT = tilt_B1 * own_BT, (1.0 - tilt_B1) * other_BT
    return torch.where(peak_BT > 0, own_BT / torch.where(peak_BT > 0, own_BT + other_BT, 1.0), tilt_B1)
