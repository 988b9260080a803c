"""SSMix: the partner's most salient span in place of the row's least salient one.

Axes: B batch, T tokens.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from amix.engine.mixing.checks import require_between
from amix.engine.mixing.mixer import Mixer, Need, Pairs, Ratios


@dataclass(frozen=True, kw_only=True)
class SSMix(Mixer):
    """Saliency-based span mixup (SSMix, Yoon, Kim and Park 2021, arXiv 2106.08062, section 2).

    The row's least salient span is replaced by the partner's most salient span of the same length; of equal spans
    the first is taken. Spans lie inside content; in pairs of texts, the first is mixed with the first and the
    second with the second. The label weight is the share of content that is the row's own. Nothing is replaced
    where the row or its partner has no content.

    span_share: length of the span as a share of the row's content, at least one token, at most the partner's
        content; 0.1 in the source.
    """

    span_share: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_between("span_share", self.span_share, 0.0, 1.0)

    @property
    def reads(self) -> frozenset[Need]:
        """Saliency: the norm of the loss's gradient at each word embedding, as in the source."""
        return frozenset({"saliency"})

    def _ratios(self, pairs: Pairs, generator: Generator | None) -> Ratios:
        del generator
        assert pairs.saliency_BT is not None
        # Summed in float64, so that windows with the same float32 saliencies have equal sums up to the 16th digit.
        saliency_BT = pairs.saliency_BT.double()
        own_BT, texts = _texts(pairs.content_BT)
        other_BT = pairs.facing(own_BT)
        straight_T = torch.arange(own_BT.shape[1], device=own_BT.device)
        ratio_BT = torch.ones(own_BT.shape, device=own_BT.device)
        source_BT = straight_T.expand_as(own_BT)
        replaced_B = torch.zeros(len(own_BT), device=own_BT.device)
        for text in range(1, texts + 1):
            inside_a, inside_b = own_BT == text, other_BT == text
            length_a, length_b = inside_a.sum(dim=1), inside_b.sum(dim=1)
            wanted_B = (self.span_share * length_a.double()).floor().long()
            width_B = torch.minimum(wanted_B, length_b).clamp_min(1)
            width_B = torch.where((length_a > 0) & (length_b > 0), width_B, 0)
            begin_a = _best_window(-saliency_BT, inside_a, width_B)
            begin_b = _best_window(pairs.facing(saliency_BT), inside_b, width_B)
            place_BT = straight_T - begin_a[:, None]
            taken_BT = (place_BT >= 0) & (place_BT < width_B[:, None])
            ratio_BT = torch.where(taken_BT, 0.0, ratio_BT)
            source_BT = torch.where(taken_BT, begin_b[:, None] + place_BT, source_BT)
            replaced_B = replaced_B + width_B
        whole_B = pairs.content_BT.sum(dim=1).clamp_min(1)
        return Ratios(ratio_BT=ratio_BT, weight_B=1.0 - replaced_B / whole_B, source_BT=source_BT)


def _texts(content_BT: Tensor) -> tuple[Tensor, int]:
    """Return the number of the text that each token belongs to (from 1; 0 outside content), and the largest number.

    Special tokens separate the texts of a pair, so a run is a text.
    """
    before_BT = torch.nn.functional.pad(content_BT[:, :-1], (1, 0))
    number_BT = (content_BT & ~before_BT).cumsum(dim=1) * content_BT
    return number_BT, int(number_BT.max()) if number_BT.numel() else 0


def _best_window(score_BT: Tensor, inside_BT: Tensor, width_B: Tensor) -> Tensor:
    """Return where the window with the largest sum of scores begins, (B,), inside a run; the first of equals."""
    tokens = score_BT.shape[1]
    total_BT = torch.nn.functional.pad(score_BT.cumsum(dim=1), (1, 0))
    begin_T = torch.arange(tokens, device=score_BT.device)
    end_BT = begin_T + width_B[:, None]
    sum_BT = total_BT.gather(1, end_BT.clamp_max(tokens)) - total_BT[:, :-1]
    last_BT = inside_BT.gather(1, (end_BT - 1).clamp(0, tokens - 1))
    fits_BT = inside_BT & last_BT & (end_BT <= tokens)
    return sum_BT.masked_fill(~fits_BT, float("-inf")).argmax(dim=1)
