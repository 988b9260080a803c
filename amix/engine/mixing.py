"""Mixup for text: mixers sample a plan from masks, relevance and a generator; the plan does the mixing.

Axes: B batch, T tokens. Suffix a: the row itself; b: its partner.
The rules are numbered in docs/architecture.md, section 2.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor

from amix.engine.errors import MixingError, UsageError
from amix.engine.partners import derangement
from amix.engine.plan import Plan

LabelWeight = Literal["ratio", "mass"]


@dataclass(frozen=True, kw_only=True)
class Mixer:
    """What all mixers share: options that are checked once, and the way from masks to a plan.

    p: probability per row of being mixed; the other rows stay as they are.
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    p: float = 1.0

    def __post_init__(self) -> None:
        require_between("p", self.p, 0.0, 1.0)

    def plan(
        self,
        attention_mask: Tensor,
        *,
        relevance: Tensor | None = None,
        content: Tensor | None = None,
        labels: Tensor | None = None,
        partner: Tensor | None = None,
        generator: Generator | None = None,
    ) -> Plan:
        """Sample how the rows of a batch are mixed.

        attention_mask: (B, T) integers or booleans, 1 = real token.
        relevance: (B, T) floats >= 0, needed where "relevance" is in `needs`.
        content: (B, T) bool, real tokens that are not special; None counts every real token as content.
        labels: unused by random partners; taken so that every mixer has one signature.
        partner: (B,) int64 to mix with; None draws a permutation without fixed points.
        generator: a CPU generator for everything drawn; None uses torch's global one.
        Returns a plan on the device of `attention_mask`. Raises MixingError for shapes or values that do not fit.
        """
        del labels
        if attention_mask.ndim != 2:
            raise MixingError(
                f"attention_mask has shape {tuple(attention_mask.shape)}; it must be (batch, tokens)."
            )
        mask_BT = attention_mask.bool()
        content_BT = mask_BT if content is None else _same_shape("content", content, mask_BT).bool() & mask_BT
        partner_B = self._partner(partner, mask_BT, generator)
        ratio_BT, weight_B = self._ratios(mask_BT, content_BT, partner_B, relevance, generator)

        mixed_B = torch.ones(len(mask_BT), dtype=torch.bool)
        if self.p < 1.0:
            mixed_B = torch.rand(len(mask_BT), generator=generator) < self.p
            mixed = mixed_B.to(mask_BT.device)
            # An unmixed row becomes its own partner, so that the partner's mask does not reach it either.
            partner_B = torch.where(mixed, partner_B, torch.arange(len(mask_BT), device=mask_BT.device))
            ratio_BT = torch.where(mixed[:, None], ratio_BT, 1.0)
            weight_B = torch.where(mixed, weight_B, 1.0)
        union_BT = mask_BT | (mask_BT.index_select(0, partner_B) & (ratio_BT < 1))
        return Plan(
            partner=partner_B,
            ratio=ratio_BT,
            source=torch.arange(mask_BT.shape[1], device=mask_BT.device).expand_as(mask_BT),
            label_weight=weight_B,
            attention_mask=union_BT.long(),
            is_identity=not bool(mixed_B.any()),
        )

    def _partner(self, partner: Tensor | None, mask_BT: Tensor, generator: Generator | None) -> Tensor:
        rows = len(mask_BT)
        if partner is None:
            return derangement(rows, generator).to(mask_BT.device)
        if partner.shape != (rows,) or partner.is_floating_point():
            raise MixingError(
                f"partner has shape {tuple(partner.shape)} and dtype {partner.dtype}; it must be ({rows},) integers."
            )
        if rows and not 0 <= int(partner.min()) <= int(partner.max()) < rows:
            raise MixingError(
                f"partner names rows outside 0..{rows - 1}; each entry is a row of the same batch."
            )
        return partner.to(mask_BT.device, torch.int64)

    def _ratios(
        self,
        mask_BT: Tensor,
        content_BT: Tensor,
        partner_B: Tensor,
        relevance: Tensor | None,
        generator: Generator | None,
    ) -> tuple[Tensor, Tensor]:
        """Return ratio (B, T) and label weight (B,), float32, as if every row were mixed."""
        raise AssertionError("a mixer defines its ratios")


@dataclass(frozen=True, kw_only=True)
class NoMix(Mixer):
    """Vanilla fine-tuning behind the interface of the mixers: every row stays itself."""

    p: float = field(default=0.0, init=False)

    def _partner(self, partner: Tensor | None, mask_BT: Tensor, generator: Generator | None) -> Tensor:
        del partner, generator
        return torch.arange(len(mask_BT), device=mask_BT.device)

    def _ratios(
        self,
        mask_BT: Tensor,
        content_BT: Tensor,
        partner_B: Tensor,
        relevance: Tensor | None,
        generator: Generator | None,
    ) -> tuple[Tensor, Tensor]:
        del content_BT, partner_B, relevance, generator
        return torch.ones(mask_BT.shape, device=mask_BT.device), torch.ones(
            len(mask_BT), device=mask_BT.device
        )


@dataclass(frozen=True, kw_only=True)
class WordMixup(Mixer):
    """One Beta-distributed ratio per pair at the word embeddings (Guo et al. 2019, arXiv 1905.08941, section 3).

    alpha: both parameters of the Beta distribution; 1 = uniform, as in the source.
    pad: `keep` leaves a token that faces padding whole; `zero` mixes it with the padding vector, as the source does.
    """

    alpha: float = 1.0
    pad: Literal["keep", "zero"] = "keep"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.alpha < float("inf"):
            raise UsageError(f"alpha is {self.alpha}; it must be a number above 0.")
        require_one_of("pad", self.pad, ("keep", "zero"))

    def _ratios(
        self,
        mask_BT: Tensor,
        content_BT: Tensor,
        partner_B: Tensor,
        relevance: Tensor | None,
        generator: Generator | None,
    ) -> tuple[Tensor, Tensor]:
        del content_BT, relevance
        weight_B = _beta(self.alpha, len(mask_BT), generator).to(mask_BT.device)
        ratio_BT = weight_B[:, None].expand(mask_BT.shape)
        if self.pad == "keep":
            ratio_BT = _whole_where_alone(ratio_BT, mask_BT, mask_BT.index_select(0, partner_B))
        return ratio_BT.contiguous(), weight_B


@dataclass(frozen=True, kw_only=True)
class AttentionMix(Mixer):
    """Per-token ratios from the attention that each token receives (AttentionMix, arXiv 2309.11104).

    The source's summary prints no equations; the reading followed here is rules 3 to 8 of docs/architecture.md.

    level: where to mix; `embedding` = the word embeddings.
    label_weight: `ratio` = mean ratio over the content of both texts; `mass` = share of the relevance mixed in.
    special: `drop` takes relevance from special tokens; `keep` lets them count like words.
    strength: s in [0, 1] pulls every ratio and label weight toward the row's own side, 1 - s (1 - ratio).
    sharpness: k >= 0 in ratio = sigmoid(k (log r_a - log r_b)); 1 = r_a / (r_a + r_b), 0 = one half everywhere.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"relevance"})

    level: Literal["embedding"] = "embedding"
    label_weight: LabelWeight = "ratio"
    special: Literal["drop", "keep"] = "drop"
    strength: float = 1.0
    sharpness: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("level", self.level, ("embedding",))
        require_one_of("label_weight", self.label_weight, ("ratio", "mass"))
        require_one_of("special", self.special, ("drop", "keep"))
        require_between("strength", self.strength, 0.0, 1.0)
        require_between("sharpness", self.sharpness, 0.0, 1e3)

    def _ratios(
        self,
        mask_BT: Tensor,
        content_BT: Tensor,
        partner_B: Tensor,
        relevance: Tensor | None,
        generator: Generator | None,
    ) -> tuple[Tensor, Tensor]:
        del generator
        relevance_BT = _checked_relevance(relevance, mask_BT)
        if self.special == "keep":
            content_BT = mask_BT
        own_BT = content_relevance(relevance_BT, content_BT, rescale=self.special == "drop")
        other_BT = own_BT.index_select(0, partner_B)
        has_own_BT, has_other_BT = content_BT, content_BT.index_select(0, partner_B)

        ratio_BT = pair_ratio(own_BT, other_BT, self.sharpness)
        ratio_BT = _whole_where_alone(ratio_BT, has_own_BT, has_other_BT)

        union_BT = has_own_BT | has_other_BT
        weight_B = self._label_weight(ratio_BT, own_BT, other_BT, union_BT)

        # Where neither side has content, special tokens and padding face each other (rule 4).
        token_a_BT, token_b_BT = mask_BT, mask_BT.index_select(0, partner_B)
        rest_BT = _whole_where_alone(weight_B[:, None].expand(mask_BT.shape), token_a_BT, token_b_BT)
        rest_BT = torch.where(token_a_BT | token_b_BT, rest_BT, 1.0)
        ratio_BT = torch.where(union_BT, ratio_BT, rest_BT)
        if self.strength != 1.0:
            ratio_BT = 1.0 - self.strength * (1.0 - ratio_BT)
            weight_B = 1.0 - self.strength * (1.0 - weight_B)
        return ratio_BT, weight_B

    def _label_weight(self, ratio_BT: Tensor, own_BT: Tensor, other_BT: Tensor, union_BT: Tensor) -> Tensor:
        match self.label_weight:
            case "ratio":
                own_B, whole_B = (ratio_BT * union_BT).sum(dim=1), union_BT.sum(dim=1).float()
            case "mass":
                own_B = (ratio_BT * own_BT).sum(dim=1)
                whole_B = own_B + ((1.0 - ratio_BT) * other_BT).sum(dim=1)
        # The clamps only touch pairs without content, and rounding in the last place.
        return torch.where(whole_B > 0, own_B / whole_B.clamp_min(1e-30), 0.5).clamp(0.0, 1.0)


def content_relevance(relevance_BT: Tensor, content_BT: Tensor, *, rescale: bool = True) -> Tensor:
    """Return relevance that is 0 outside content and has mean 1 over each row's content (rule 3).

    relevance_BT: floats >= 0.  content_BT: bool.  rescale=False keeps the values of content as they are.
    A row whose content has no relevance at all counts as uniform: 1 everywhere. Returns float32.
    """
    kept_BT = torch.where(content_BT, relevance_BT.float(), 0.0)
    count_B1 = content_BT.sum(dim=1, keepdim=True).float()
    total_B1 = kept_BT.sum(dim=1, keepdim=True)
    if rescale:
        # Division first by the row's largest value, so that sums of huge or tiny values neither overflow nor vanish.
        peak_B1 = kept_BT.amax(dim=1, keepdim=True) if kept_BT.shape[1] else total_B1
        kept_BT = kept_BT / torch.where(peak_B1 > 0, peak_B1, 1.0)
        total_B1 = kept_BT.sum(dim=1, keepdim=True)
        kept_BT = kept_BT * (count_B1 / torch.where(total_B1 > 0, total_B1, 1.0))
    return torch.where(total_B1 > 0, kept_BT, content_BT.float())


def pair_ratio(own_BT: Tensor, other_BT: Tensor, sharpness: float = 1.0) -> Tensor:
    """Return own^k / (own^k + other^k), 0.5 where both are 0 (rule 4; k is the sharpness of rule 8).

    Both arguments: (B, T) float32 >= 0. Scaling by the larger one first keeps powers from overflowing.
    """
    peak_BT = torch.maximum(own_BT, other_BT)
    scale_BT = torch.where(peak_BT > 0, peak_BT, 1.0)
    own_BT, other_BT = own_BT / scale_BT, other_BT / scale_BT
    if sharpness != 1.0:
        own_BT, other_BT = own_BT.pow(sharpness), other_BT.pow(sharpness)
    return torch.where(peak_BT > 0, own_BT / torch.where(peak_BT > 0, own_BT + other_BT, 1.0), 0.5)


def require_between(name: str, value: float, low: float, high: float) -> None:
    """Raise UsageError naming the option unless low <= value <= high (NaN is never between)."""
    if not low <= value <= high:
        raise UsageError(f"{name} is {value}; it must be between {low:g} and {high:g}.")


def require_one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise UsageError naming the option and its choices unless `value` is one of them."""
    if value not in choices:
        raise UsageError(f"{name} is '{value}'; it must be one of: {', '.join(choices)}.")


def _whole_where_alone(ratio_BT: Tensor, own_BT: Tensor, other_BT: Tensor) -> Tensor:
    """Give a position to the only side that has something there; where neither has, to the row itself."""
    ratio_BT = torch.where(other_BT, ratio_BT, 1.0)
    return torch.where(other_BT & ~own_BT, 0.0, ratio_BT)


def _same_shape(name: str, value: Tensor, mask_BT: Tensor) -> Tensor:
    if value.shape != mask_BT.shape:
        raise MixingError(
            f"{name} has shape {tuple(value.shape)}, attention_mask {tuple(mask_BT.shape)}; they must agree."
        )
    return value.to(mask_BT.device)


def _checked_relevance(relevance: Tensor | None, mask_BT: Tensor) -> Tensor:
    if relevance is None:
        raise MixingError(
            "attentionmix needs relevance: pass batch['relevance'], read with a head spec (head='0.8')."
        )
    relevance_BT = _same_shape("relevance", relevance, mask_BT)
    # On a GPU the check would make the host wait; there the loader's own check has to do.
    if relevance_BT.device.type == "cpu" and not bool((relevance_BT.isfinite() & (relevance_BT >= 0)).all()):
        raise MixingError(
            "relevance holds NaN, infinite or negative values; check the cache with 'amix verify --deep'."
        )
    return relevance_BT


def _beta(alpha: float, rows: int, generator: Generator | None) -> Tensor:
    """Draw (B,) float32 from Beta(alpha, alpha); torch's own distributions take no generator."""
    import numpy as np

    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    return torch.from_numpy(np.random.Generator(np.random.Philox(seed)).beta(alpha, alpha, rows)).float()
