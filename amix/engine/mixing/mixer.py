"""What all mixers share: a mixer samples a plan from masks, relevance and a generator; the plan mixes.

Axes: B batch, T tokens, S head specs. Suffix a: the row itself; b: its partner.
The rules are numbered in docs/architecture.md, section 4.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Generator, Tensor

from amix.engine.base.errors import MixingError
from amix.engine.mixing.checks import (
    checked_partner,
    checked_weights,
    require_between,
    require_one_of,
    same_shape,
)
from amix.engine.mixing.choices import PartnerChoice
from amix.engine.mixing.partners import CLASS_AWARE, draw_partners
from amix.engine.mixing.plan import Plan

Need = Literal["relevance", "saliency", "labels"]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """The input of a mixer: a batch, and the partner of every row.

    mask_BT, content_BT: bool.  partner_B: int64.
    relevance_BT, saliency_BT: checked floats, None where the mixer needs none.
    """

    mask_BT: Tensor
    content_BT: Tensor
    partner_B: Tensor
    relevance_BT: Tensor | None
    saliency_BT: Tensor | None

    def facing(self, x: Tensor) -> Tensor:
        """Return `x` with every row replaced by its partner's."""
        return x.index_select(0, self.partner_B)


@dataclass(frozen=True, kw_only=True)
class Ratios:
    """The output of a mixer, as if every row were mixed; the fields are those of `Plan`."""

    ratio_BT: Tensor
    weight_B: Tensor
    source_BT: Tensor | None = None
    site: str = "embedding"


@dataclass(frozen=True, kw_only=True)
class Mixer(ABC):
    """What all mixers share: options that are checked once, and the way from masks to a plan.

    p: probability per row of being mixed; the other rows stay as they are.
    partner: who is mixed with whom, see `partners.draw_partners`; `random` as in all the sources.
    """

    p: float = 1.0
    partner: PartnerChoice = "random"

    def __post_init__(self) -> None:
        require_between("p", self.p, 0.0, 1.0)
        require_one_of("partner", self.partner, get_args(PartnerChoice))

    @property
    def reads(self) -> frozenset[Need]:
        """What ratios are computed from, beside the masks."""
        return frozenset()

    @property
    def needs(self) -> frozenset[Need]:
        """What `plan` has to be given."""
        return self.reads | {"labels"} if self.partner in CLASS_AWARE else self.reads

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites that plans of this mixer can have, so that a model can be checked before training."""
        return ("embedding",)

    def settled(self, generator: Generator | None) -> "Mixer":
        """Make the draws that hold for a whole batch, for all its groups of rows; return the mixer with them fixed."""
        del generator
        return self

    def plan(
        self,
        attention_mask: Tensor,
        *,
        relevance: Tensor | None = None,
        saliency: Tensor | None = None,
        content: Tensor | None = None,
        labels: Tensor | None = None,
        partner: Tensor | None = None,
        p: float | None = None,
        generator: Generator | None = None,
    ) -> Plan:
        """Sample how the rows of a batch are mixed.

        attention_mask: (B, T) integers or booleans, 1 = real token.
        relevance: (B, T) floats >= 0, needed where "relevance" is in `needs`; (B, S, T) holds one of S head
            specs for each s, of which one is drawn for the batch.
        saliency: (B, T) floats >= 0, needed where "saliency" is in `needs`.
        content: (B, T) bool, real tokens that are not special; None counts every real token as content.
        labels: (B,) class ids or (B, C) weights; only the class-aware partner choices look at them.
        partner: (B,) int64 to mix with; None draws them as the option `partner` says.
        p: probability per row of being mixed, for this plan; None = the option `p`.
        generator: a CPU generator for everything drawn; None uses torch's global one.
        Returns a plan on the device of `attention_mask`.
        Raises MixingError for shapes or values that do not fit, UsageError for a `p` outside 0..1.
        """
        if attention_mask.ndim != 2:
            raise MixingError(
                f"attention_mask has shape {tuple(attention_mask.shape)}; it must be (batch, tokens)."
            )
        share = self._probability(p)
        mask_BT = attention_mask.bool()
        content_BT = mask_BT if content is None else same_shape("content", content, mask_BT).bool() & mask_BT

        # The order of the draws must not change, or seeds give other plans: head spec, partners, the mixer's own draws,
        # which rows are mixed.
        relevance_BT = saliency_BT = None
        if "relevance" in self.reads:
            relevance_BT = self._given("relevance", one_spec(relevance, generator), mask_BT)
        if "saliency" in self.reads:
            saliency_BT = self._given("saliency", saliency, mask_BT)
        if partner is None:
            drawn_B = self._draw_partners(mask_BT, labels, generator)
            partner_B = drawn_B.to(mask_BT.device)
            paired_B = drawn_B != torch.arange(len(mask_BT))
        else:
            partner_B = checked_partner(partner, mask_BT)
            paired_B = torch.ones(len(mask_BT), dtype=torch.bool)
        pairs = Pairs(
            mask_BT=mask_BT,
            content_BT=content_BT,
            partner_B=partner_B,
            relevance_BT=relevance_BT,
            saliency_BT=saliency_BT,
        )
        ratios = self._ratios(pairs, generator)
        mixed_B = paired_B
        if share < 1.0:
            mixed_B = mixed_B & (torch.rand(len(mask_BT), generator=generator) < share)

        # With p = 0 no row needs a partner, so none is counted as unpaired.
        unpaired = int((~paired_B).sum()) if share > 0 else 0
        return _assembled(pairs, ratios, mixed_B, unpaired)

    def _probability(self, p: float | None) -> float:
        if p is None:
            return self.p
        require_between("p", p, 0.0, 1.0)
        return p

    def _draw_partners(self, mask_BT: Tensor, labels: Tensor | None, generator: Generator | None) -> Tensor:
        return draw_partners(self.partner, mask_BT.sum(dim=1), labels, generator)

    def _given(self, name: str, value: Tensor | None, mask_BT: Tensor) -> Tensor:
        return checked_weights(name, value, mask_BT, type(self).__name__.lower())

    @abstractmethod
    def _ratios(self, pairs: Pairs, generator: Generator | None) -> Ratios:
        """Return how the pairs would be mixed if every row were."""


@dataclass(frozen=True, kw_only=True)
class NoMix(Mixer):
    """Plain fine-tuning with the interface of a mixer: no row is mixed."""

    p: float = field(default=0.0, init=False)
    partner: PartnerChoice = field(default="random", init=False)

    def _probability(self, p: float | None) -> float:
        del p
        return 0.0

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


def one_spec(relevance: Tensor | None, generator: Generator | None) -> Tensor | None:
    """Return relevance as it is, or one drawn of the S head specs of (B, S, T)."""
    if relevance is None or relevance.ndim != 3:
        return relevance
    if relevance.shape[1] == 0:
        raise MixingError("relevance is (batch, 0, tokens); it must hold at least one head spec.")
    return relevance[:, int(torch.randint(relevance.shape[1], (), generator=generator))]


def draw_beta(alpha: float, rows: int, generator: Generator | None) -> Tensor:
    """Draw from Beta(alpha, alpha), (B,) float32 on the CPU; torch's own distributions take no generator."""
    import numpy as np

    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    return torch.from_numpy(np.random.Generator(np.random.Philox(seed)).beta(alpha, alpha, rows)).float()


def whole_where_alone(ratio_BT: Tensor, own_BT: Tensor, other_BT: Tensor) -> Tensor:
    """Return the ratio, but 1 or 0 where only the row or only its partner has something; 1 where neither has."""
    ratio_BT = torch.where(other_BT, ratio_BT, 1.0)
    return torch.where(other_BT & ~own_BT, 0.0, ratio_BT)


def _assembled(pairs: Pairs, ratios: Ratios, mixed_B: Tensor, unpaired: int) -> Plan:
    """Return the plan in which the rows of `mixed_B` (bool, on the CPU) are mixed and the others stay themselves."""
    mask_BT, partner_B = pairs.mask_BT, pairs.partner_B
    ratio_BT, weight_B = ratios.ratio_BT, ratios.weight_B
    if not bool(mixed_B.all()):
        mixed = mixed_B.to(mask_BT.device)
        itself_B = torch.arange(len(mask_BT), device=mask_BT.device)
        # An unmixed row becomes its own partner, so that the partner's mask does not reach it either.
        partner_B = torch.where(mixed, partner_B, itself_B)
        ratio_BT = torch.where(mixed[:, None], ratio_BT, 1.0)
        weight_B = torch.where(mixed, weight_B, 1.0)
    union_BT = mask_BT | (mask_BT.index_select(0, partner_B) & (ratio_BT < 1))
    straight_BT = torch.arange(mask_BT.shape[1], device=mask_BT.device).expand_as(mask_BT)
    return Plan(
        partner=partner_B,
        ratio=ratio_BT,
        source=straight_BT if ratios.source_BT is None else ratios.source_BT,
        label_weight=weight_B,
        attention_mask=union_BT.long(),
        site=ratios.site,
        is_identity=not bool(mixed_B.any()),
        is_aligned=ratios.source_BT is None,
        unpaired=unpaired,
    )
