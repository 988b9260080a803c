"""Rank statistics.

Axes: H heads or other rows, T values in each.
"""

import numpy as np
from numpy.typing import NDArray


def rank_correlation(a_HT: NDArray[np.number], b_HT: NDArray[np.number]) -> NDArray[np.float64]:
    """Return Spearman's rank correlation (H,) of each row of `a_HT` with the same row of `b_HT`.

    Equal values share their mean rank. The correlation of two constant rows is 1, that of a constant row with any other
    is 0.
    """
    a_HT, b_HT = _centred_ranks(a_HT), _centred_ranks(b_HT)
    a_H, b_H = np.square(a_HT).sum(axis=1), np.square(b_HT).sum(axis=1)
    defined_H = (a_H > 0) & (b_H > 0)
    together_H: NDArray[np.float64] = (a_HT * b_HT).sum(axis=1) / np.sqrt(np.where(defined_H, a_H * b_H, 1.0))
    together_H[~defined_H] = ((a_H == 0) & (b_H == 0))[~defined_H]
    return together_H


def _centred_ranks(values_HT: NDArray[np.number]) -> NDArray[np.float64]:
    ranks_HT = np.empty(values_HT.shape)
    for head, values_T in enumerate(values_HT):
        _, place_T, counts = np.unique(values_T, return_inverse=True, return_counts=True)
        ranks_HT[head] = (np.cumsum(counts) - (counts - 1) / 2)[place_T]
    ranks_HT -= (values_HT.shape[1] + 1) / 2
    return ranks_HT
