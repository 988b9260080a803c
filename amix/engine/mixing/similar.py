"""Whom each row may be mixed with, by similarity: few pairs of a batch when training begins, all of them at its end.

Axes: B batch, D width.
"""

import math

import torch
from torch import Tensor

from amix.engine.mixing.checks import require_between

FIRST = 0.1  # share of the pairs that are near when training begins, as in CIAug
_EQUAL = 1e-9  # distances that differ by less are equal: their sums were rounded


def near_rows(means_BD: Tensor, progress: float) -> Tensor:
    """Return which rows are near each other, (B, B) bool, symmetric, on the CPU; no row is near itself.

    Near are the pairs whose cosine distance is within a quantile of the distances of all pairs. It is FIRST at first,
    and rises linearly to 1 (CIAug, Sawhney et al., NAACL 2022, raises it once an epoch, over ten).
    means_BD: mean word embedding of each text. Zeros, of a text without content, have distance 1 from all others.
    progress: share of the training that is over. Raises UsageError unless it is between 0 and 1.
    """
    require_between("progress", progress, 0.0, 1.0)
    unit_BD = torch.nn.functional.normalize(means_BD.cpu().double(), dim=1)  # waits for the GPU
    distance_BB = 1.0 - unit_BD @ unit_BD.T
    # Each pair once: a product of matrices need not be symmetric in its last bits.
    near_BB = torch.ones_like(distance_BB, dtype=torch.bool).triu(1)
    distances_P = distance_BB[near_BB]
    if len(distances_P):
        share = FIRST + (1.0 - FIRST) * progress
        furthest = distances_P.kthvalue(math.ceil(share * len(distances_P))).values
        near_BB &= distance_BB <= furthest + _EQUAL
    return near_BB | near_BB.T
