"""What all mixers share: a mixer samples a plan from masks, relevance and a generator; the plan mixes.

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
        Returns a plan on the device of `attention_mask`.
        Raises MixingError for shapes or values that do not fit.
        """
        del labels
        if attention_mask.ndim != 2:
            raise MixingError(
                f"attention_mask has shape {tuple(attention_mask.shape)}; it must be (batch, tokens)."
            )
        mask_BT = attention_mask.bool()
        content_BT = mask_BT if content is None else same_shape("content", content, mask_BT).bool() & mask_BT
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
                f"partner has shape {tuple(partner.shape)} and dtype {partner.dtype}; "
                f"it must be ({rows},) integers."
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
    """One Beta-distributed ratio per pair at the word embeddings (Guo et al. 2019, arXiv 1905.08941).

    alpha: both parameters of the Beta distribution; 1 = uniform, as in the source.
    pad: `keep` leaves a token that faces padding whole; `zero` mixes it with the padding vector, as the
        source does.
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
            ratio_BT = whole_where_alone(ratio_BT, mask_BT, mask_BT.index_select(0, partner_B))
        return ratio_BT.contiguous(), weight_B


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


def _beta(alpha: float, rows: int, generator: Generator | None) -> Tensor:
    """Draw (B,) float32 from Beta(alpha, alpha); torch's own distributions take no generator."""
    import numpy as np

    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    return torch.from_numpy(np.random.Generator(np.random.Philox(seed)).beta(alpha, alpha, rows)).float()
