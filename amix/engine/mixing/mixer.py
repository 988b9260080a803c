"""What all mixers share: a mixer samples a plan from masks, relevance and a generator; the plan mixes.

Axes: B batch, T tokens, S head specs. Suffix a: the row itself; b: its partner.
The rules are numbered in docs/architecture.md, section 2.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Generator, Tensor

from amix.engine.base.errors import MixingError, UsageError
from amix.engine.mixing.partners import CLASS_AWARE, PARTNER_CHOICES, PartnerChoice, draw_partners
from amix.engine.mixing.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """What a mixer is asked about: a batch, and the partner of every row.

    mask_BT, content_BT: bool.  partner_B: int64.  relevance_BT: checked float32, None where the mixer needs none.
    """

    mask_BT: Tensor
    content_BT: Tensor
    partner_B: Tensor
    relevance_BT: Tensor | None

    def facing(self, x: Tensor) -> Tensor:
        """Return what stands in the partners' rows of `x`."""
        return x.index_select(0, self.partner_B)


@dataclass(frozen=True, kw_only=True)
class Ratios:
    """What a mixer answers, as if every row were mixed; the fields are those of `Plan`."""

    ratio_BT: Tensor
    weight_B: Tensor
    source_BT: Tensor | None = None
    site: str = "embedding"


@dataclass(frozen=True, kw_only=True)
class Mixer:
    """What all mixers share: options that are checked once, and the way from masks to a plan.

    p: probability per row of being mixed; the other rows stay as they are.
    partner: who is mixed with whom, see `partners.draw_partners`; `random` as in all the sources.
    """

    reads: ClassVar[frozenset[str]] = frozenset()  # what the ratios of every mixer of the class come from

    p: float = 1.0
    partner: PartnerChoice = "random"

    def __post_init__(self) -> None:
        require_between("p", self.p, 0.0, 1.0)
        require_one_of("partner", self.partner, PARTNER_CHOICES)

    @property
    def needs(self) -> frozenset[str]:
        """What `plan` has to be given: a subset of "relevance", "saliency" and "labels"."""
        return self.reads | ({"labels"} if self.partner in CLASS_AWARE else frozenset())

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites that plans of this mixer can have, so that a model can be checked before training."""
        return ("embedding",)

    def settled(self, generator: Generator | None) -> "Mixer":
        """Return the mixer with those draws made that hold for a whole batch, whatever its groups of rows."""
        del generator
        return self

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
        relevance: (B, T) floats >= 0, needed where "relevance" is in `needs`; (B, S, T) holds one of S head
            specs for each s, of which one is drawn for the batch. Where "saliency" is in `needs`: the saliency.
        content: (B, T) bool, real tokens that are not special; None counts every real token as content.
        labels: (B,) class ids or (B, C) weights; only the class-aware partner choices look at them.
        partner: (B,) int64 to mix with; None draws them as the option `partner` says.
        generator: a CPU generator for everything drawn; None uses torch's global one.
        Returns a plan on the device of `attention_mask`.
        Raises MixingError for shapes or values that do not fit.
        """
        if attention_mask.ndim != 2:
            raise MixingError(
                f"attention_mask has shape {tuple(attention_mask.shape)}; it must be (batch, tokens)."
            )
        mask_BT = attention_mask.bool()
        content_BT = mask_BT if content is None else same_shape("content", content, mask_BT).bool() & mask_BT
        relevance_BT = None
        if self.reads:
            relevance_BT = self._relevance(relevance, mask_BT, generator)
        itself_B = torch.arange(len(mask_BT), device=mask_BT.device)
        if partner is None:
            drawn_B = self._draw_partners(mask_BT, labels, generator)
            partner_B = drawn_B.to(mask_BT.device)
            paired_B = drawn_B != torch.arange(len(mask_BT))
        else:
            partner_B = _checked_partner(partner, mask_BT)
            paired_B = torch.ones(len(mask_BT), dtype=torch.bool)
        pairs = Pairs(mask_BT=mask_BT, content_BT=content_BT, partner_B=partner_B, relevance_BT=relevance_BT)
        ratios = self._ratios(pairs, generator)

        mixed_B = paired_B
        if self.p < 1.0:
            mixed_B = mixed_B & (torch.rand(len(mask_BT), generator=generator) < self.p)
        ratio_BT, weight_B = ratios.ratio_BT, ratios.weight_B
        if not bool(mixed_B.all()):
            mixed = mixed_B.to(mask_BT.device)
            # An unmixed row becomes its own partner, so that the partner's mask does not reach it either.
            partner_B = torch.where(mixed, partner_B, itself_B)
            ratio_BT = torch.where(mixed[:, None], ratio_BT, 1.0)
            weight_B = torch.where(mixed, weight_B, 1.0)
        union_BT = mask_BT | (mask_BT.index_select(0, partner_B) & (ratio_BT < 1))
        is_aligned = ratios.source_BT is None
        straight_BT = torch.arange(mask_BT.shape[1], device=mask_BT.device).expand_as(mask_BT)
        return Plan(
            partner=partner_B,
            ratio=ratio_BT,
            source=straight_BT if ratios.source_BT is None else ratios.source_BT,
            label_weight=weight_B,
            attention_mask=union_BT.long(),
            site=ratios.site,
            is_identity=not bool(mixed_B.any()),
            is_aligned=is_aligned,
            unpaired=int((~paired_B).sum()) if self.p > 0 else 0,  # who is not to be mixed lacks no partner
        )

    def _draw_partners(self, mask_BT: Tensor, labels: Tensor | None, generator: Generator | None) -> Tensor:
        return draw_partners(self.partner, mask_BT.sum(dim=1), labels, generator)

    def _relevance(self, relevance: Tensor | None, mask_BT: Tensor, generator: Generator | None) -> Tensor:
        """Return the relevance to use, (B, T) float32, drawn where several head specs came in."""
        if relevance is None:
            raise MixingError(self._without_relevance())
        if relevance.ndim == 3:
            if relevance.shape[1] == 0:
                raise MixingError("relevance is (batch, 0, tokens); it must hold at least one head spec.")
            drawn = int(torch.randint(relevance.shape[1], (), generator=generator))
            relevance = relevance[:, drawn]
        relevance_BT = same_shape("relevance", relevance, mask_BT)
        # On a GPU the check would make the host wait; there the loader's own check has to do.
        if relevance_BT.device.type == "cpu" and not bool(
            (relevance_BT.isfinite() & (relevance_BT >= 0)).all()
        ):
            raise MixingError(
                "relevance holds NaN, infinite or negative values; check the cache with 'amix verify --deep'."
            )
        return relevance_BT

    def _without_relevance(self) -> str:
        raise AssertionError("a mixer that needs relevance says how to get it")

    def _ratios(self, pairs: Pairs, generator: Generator | None) -> Ratios:
        raise AssertionError("a mixer defines its ratios")


@dataclass(frozen=True, kw_only=True)
class NoMix(Mixer):
    """Vanilla fine-tuning behind the interface of the mixers: every row stays itself."""

    p: float = field(default=0.0, init=False)
    partner: PartnerChoice = field(default="random", init=False)

    def _draw_partners(self, mask_BT: Tensor, labels: Tensor | None, generator: Generator | None) -> Tensor:
        del labels, generator
        return torch.arange(len(mask_BT))

    def _ratios(self, pairs: Pairs, generator: Generator | None) -> Ratios:
        del generator
        mask_BT = pairs.mask_BT
        return Ratios(
            ratio_BT=torch.ones(mask_BT.shape, device=mask_BT.device),
            weight_B=torch.ones(len(mask_BT), device=mask_BT.device),
        )


def draw_beta(alpha: float, rows: int, generator: Generator | None) -> Tensor:
    """Draw from Beta(alpha, alpha), (B,) float32 on the CPU; torch's own distributions take no generator."""
    import numpy as np

    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    return torch.from_numpy(np.random.Generator(np.random.Philox(seed)).beta(alpha, alpha, rows)).float()


def require_alpha(alpha: float) -> None:
    """Raise UsageError unless `alpha` can be a parameter of the Beta distribution."""
    if not 0.0 < alpha < float("inf"):
        raise UsageError(f"alpha is {alpha}; it must be a number above 0.")


def require_between(name: str, value: float, low: float, high: float) -> None:
    """Raise UsageError naming the option unless low <= value <= high (NaN is never between)."""
    if not low <= value <= high:
        raise UsageError(f"{name} is {value}; it must be between {low:g} and {high:g}.")


def require_one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise UsageError naming the option and its choices unless `value` is one of them."""
    if value not in choices:
        raise UsageError(f"{name} is '{value}'; it must be one of: {', '.join(choices)}.")


def whole_where_alone(ratio_BT: Tensor, own_BT: Tensor, other_BT: Tensor) -> Tensor:
    """Give a position to the only side that has something there; where neither has, to the row itself."""
    ratio_BT = torch.where(other_BT, ratio_BT, 1.0)
    return torch.where(other_BT & ~own_BT, 0.0, ratio_BT)


def same_shape(name: str, value: Tensor, mask_BT: Tensor) -> Tensor:
    """Return `value` beside the mask; raise MixingError naming it when the shapes differ."""
    if value.shape != mask_BT.shape:
        raise MixingError(
            f"{name} has shape {tuple(value.shape)}, attention_mask {tuple(mask_BT.shape)}; they must agree."
        )
    return value.to(mask_BT.device)


def _checked_partner(partner: Tensor, mask_BT: Tensor) -> Tensor:
    rows = len(mask_BT)
    if partner.shape != (rows,) or partner.is_floating_point():
        raise MixingError(
            f"partner has shape {tuple(partner.shape)} and dtype {partner.dtype}; it must be ({rows},) integers."
        )
    if rows and not 0 <= int(partner.min()) <= int(partner.max()) < rows:
        raise MixingError(f"partner names rows outside 0..{rows - 1}; each entry is a row of the same batch.")
    return partner.to(mask_BT.device, torch.int64)
