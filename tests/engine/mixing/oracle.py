"""AttentionMix once more, in plain loops over Python floats, written from docs/architecture.md section 4 alone."""

import math
from collections.abc import Sequence

Numbers = Sequence[Sequence[float]]  # (B, T)
Flags = Sequence[Sequence[int]]  # (B, T), 1 = yes
Rows = list[list[float]]


def content_relevance(relevance: Numbers, content: Flags) -> Rows:
    """Rule 3: 0 outside content, mean 1 over content, uniform where nothing is received."""
    rows = []
    for values, inside in zip(relevance, content, strict=True):
        kept = [float(value) if within else 0.0 for value, within in zip(values, inside, strict=True)]
        total, count = sum(kept), sum(inside)
        if total == 0:
            rows.append([1.0 if within else 0.0 for within in inside])
        else:
            rows.append([value * count / total for value in kept])
    return rows


def attentionmix(
    mask: Flags,
    content: Flags,
    relevance: Numbers,
    partner: Sequence[int],
    *,
    label_weight: str = "ratio",
    strength: float = 1.0,
    sharpness: float = 1.0,
    tilt: Sequence[float] | None = None,
    tail: str = "keep",
) -> tuple[Rows, list[float]]:
    """Rules 4, 6 and 8. Returns ratios (B, T) and label weights (B,)."""
    scaled = content_relevance(relevance, content)
    ratios, weights = [], []
    for a, b in enumerate(partner):
        row: dict[int, float] = {}  # by place, where either side has content
        for j in range(len(mask[a])):
            own, other = bool(content[a][j]), bool(content[b][j])
            if tail == "drop" and not mask[a][j]:
                other = False
            if own and other:
                row[j] = _ratio(scaled[a][j], scaled[b][j], sharpness, 0.5 if tilt is None else tilt[a])
            elif own:
                row[j] = 1.0
            elif other:
                row[j] = 0.0
        union = list(row)
        if not union:
            weight = 0.5
        else:
            weight = sum(row[j] for j in union) / len(union)
            mine = sum(row[j] * scaled[a][j] for j in union)
            theirs = sum((1 - row[j]) * scaled[b][j] for j in union)
            if label_weight == "mass" and mine + theirs > 0:
                weight = mine / (mine + theirs)
        for j in range(len(mask[a])):
            if j not in row:
                token_a, token_b = mask[a][j], mask[b][j] and (tail == "keep" or mask[a][j])
                row[j] = weight if token_a and token_b else 0.0 if token_b else 1.0
        ratios.append([1 - strength * (1 - row[j]) for j in range(len(mask[a]))])
        weights.append(1 - strength * (1 - weight))
    return ratios, weights


def _ratio(own: float, other: float, sharpness: float, tilt: float) -> float:
    if own == other:
        return tilt
    if sharpness == 0:
        return tilt
    if own == 0 or other == 0:
        return 1.0 if other == 0 else 0.0
    apart = sharpness * (math.log(own) - math.log(other)) + math.log(tilt) - math.log(1 - tilt)
    return 1 / (1 + math.exp(-apart))


def pair_ratio(mask: Flags, partner: Sequence[int], weight: Sequence[float], *, keep: bool = True) -> Rows:
    """The mixers of one ratio per pair: wordMixup (Guo et al. 2019), TMix (Chen et al. 2020)."""
    rows = []
    for a, b in enumerate(partner):
        row = []
        for j in range(len(mask[a])):
            if keep and not mask[b][j]:
                row.append(1.0)
            elif keep and not mask[a][j]:
                row.append(0.0)
            else:
                row.append(weight[a])
        rows.append(row)
    return rows


def mix(x: Numbers, ratio: Numbers, partner: Sequence[int], source: Sequence[Sequence[int]]) -> Rows:
    """Rule 5 for one number per token."""
    return [
        [ratio[a][j] * x[a][j] + (1 - ratio[a][j]) * x[b][source[a][j]] for j in range(len(x[a]))]
        for a, b in enumerate(partner)
    ]


def ssmix(
    content: Flags, saliency: Numbers, partner: Sequence[int], share: float
) -> tuple[Rows, list[list[int]], list[float]]:
    """SSMix (Yoon et al. 2021, section 2). Returns ratio, source and label weight."""
    ratios, sources, weights = [], [], []
    for a, b in enumerate(partner):
        ratio, source = [1.0] * len(content[a]), list(range(len(content[a])))
        replaced = 0
        for own, other in zip(_runs(content[a]), _runs(content[b]), strict=False):
            width = max(min(int(share * len(own)), len(other)), 1)
            into = min(
                (own[i : i + width] for i in range(len(own) - width + 1)),
                key=lambda places: sum(saliency[a][j] for j in places),
            )
            taken = max(
                (other[i : i + width] for i in range(len(other) - width + 1)),
                key=lambda places: sum(saliency[b][j] for j in places),
            )
            for j, k in zip(into, taken, strict=True):
                ratio[j], source[j] = 0.0, k
            replaced += width
        ratios.append(ratio)
        sources.append(source)
        weights.append(1 - replaced / max(sum(content[a]), 1))
    return ratios, sources, weights


def _runs(inside: Sequence[int]) -> list[list[int]]:
    """The texts of a row: places of content that no other token separates."""
    runs: list[list[int]] = []
    for j, within in enumerate(inside):
        if within and (j == 0 or not inside[j - 1]):
            runs.append([])
        if within:
            runs[-1].append(j)
    return runs
