"""The mixers of one ratio per pair: at the word embeddings, at a hidden layer, at the pooled vector.

Axes: B batch, T tokens.
"""

from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Generator, Tensor

from amix.engine.base.errors import UsageError
from amix.engine.mixing.checks import require_alpha, require_one_of
from amix.engine.mixing.choices import Pad
from amix.engine.mixing.mixer import Mixer, Pairs, Ratios, draw_beta, whole_where_alone


@dataclass(frozen=True, kw_only=True)
class PairMixer(Mixer):
    """What they share: one ratio per pair, drawn from Beta(alpha, alpha) (mixup, Zhang et al. 2018).

    alpha: both parameters of the Beta distribution; 1 = uniform.
    max_lambda: take max(ratio, 1 - ratio), so that a row keeps the larger part of itself (MixMatch, Berthelot
        et al. 2019, eq. 9, taken over by MixText).
    """

    alpha: float = 1.0
    max_lambda: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_alpha(self.alpha)

    def _draw_ratio(self, pairs: Pairs, generator: Generator | None) -> Tensor:
        weight_B = draw_beta(self.alpha, len(pairs.mask_BT), generator)
        if self.max_lambda:
            weight_B = torch.maximum(weight_B, 1.0 - weight_B)
        return weight_B.to(pairs.mask_BT.device)

    def _token_ratios(self, weight_B: Tensor, pairs: Pairs) -> Tensor:
        """Return the pair's ratio wherever both sides have a token; a token that faces padding stays whole."""
        ratio_BT = weight_B[:, None].expand(pairs.mask_BT.shape)
        return whole_where_alone(ratio_BT, pairs.mask_BT, pairs.facing(pairs.mask_BT))


@dataclass(frozen=True, kw_only=True)
class WordMixup(PairMixer):
    """wordMixup: one ratio per pair at the word embeddings (Guo, Mao and Zhang 2019, arXiv 1905.08941, section 3.1).

    alpha: 1 in the source.
    pad: `keep` leaves a token that faces padding whole; `zero` mixes it with the padding vector, as the
        source does.
    """

    pad: Pad = "keep"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("pad", self.pad, get_args(Pad))

    def _ratios(self, pairs: Pairs, generator: Generator | None) -> Ratios:
        weight_B = self._draw_ratio(pairs, generator)
        if self.pad == "zero":
            ratio_BT = weight_B[:, None].expand(pairs.mask_BT.shape).contiguous()
        else:
            ratio_BT = self._token_ratios(weight_B, pairs)
        return Ratios(ratio_BT=ratio_BT, weight_B=weight_B)


@dataclass(frozen=True, kw_only=True)
class SentenceMixup(PairMixer):
    """Mixup of the pooled sentence vectors (Mixup-Transformer, Sun et al. 2020, arXiv 2010.02394, section 3).

    Guo et al. 2019 call the same on CNN and LSTM encoders senMixup; alpha is 1 as there. No token is mixed:
    `ratio` is 1, the label weight is the ratio of the vectors.
    """

    @property
    def sites(self) -> tuple[str, ...]:
        """The pooled vector."""
        return ("pooled",)

    def _ratios(self, pairs: Pairs, generator: Generator | None) -> Ratios:
        return Ratios(
            ratio_BT=torch.ones(pairs.mask_BT.shape, device=pairs.mask_BT.device),
            weight_B=self._draw_ratio(pairs, generator),
            site="pooled",
        )


@dataclass(frozen=True, kw_only=True)
class TMix(PairMixer):
    """TMix: one ratio per pair at the hidden states of a layer drawn per batch (MixText, Chen et al. 2020, section 3).

    layers: how many layers run before mixing, one of which is drawn for each batch; 7, 9 and 12 of BERT-base's
        twelve in the source. 0 = the output of the embedding block.
    alpha: 0.75, the default of the source's published code, which takes 16 where each class has only ten labels.
    max_lambda: true in the source. It draws one ratio for a whole batch; here every pair has its own.
    A token that faces padding stays whole; the source mixes it with the model's output for padding.
    """

    alpha: float = 0.75
    max_lambda: bool = True
    layers: tuple[int, ...] = (7, 9, 12)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.layers or len(set(self.layers)) < len(self.layers) or min(self.layers) < 0:
            raise UsageError(
                f"layers is {self.layers}; it must be a tuple of different numbers, each at least 0."
            )

    @property
    def sites(self) -> tuple[str, ...]:
        """The hidden states of every layer that may be drawn."""
        return tuple(f"hidden:{layer}" for layer in self.layers)

    def settled(self, generator: Generator | None) -> "TMix":
        """Draw the one layer at which a batch is mixed: all its groups run through the model together."""
        return replace(self, layers=(self._draw_layer(generator),))

    def _draw_layer(self, generator: Generator | None) -> int:
        return self.layers[int(torch.randint(len(self.layers), (), generator=generator))]

    def _ratios(self, pairs: Pairs, generator: Generator | None) -> Ratios:
        site = f"hidden:{self._draw_layer(generator)}"
        weight_B = self._draw_ratio(pairs, generator)
        return Ratios(ratio_BT=self._token_ratios(weight_B, pairs), weight_B=weight_B, site=site)
