"""The definitions of relevance once more, in NumPy, for checking graphs where no torch is installed.

Axes: B batch, H heads, T tokens.
"""

import numpy as np
from numpy.typing import NDArray


def received(attention_BHTT: NDArray[np.floating], mask_BT: NDArray[np.integer]) -> NDArray[np.float64]:
    """Attention that each token receives, summed over real queries; see `amix.engine.extractor.relevance.received`.

    Returns (B, H, T), float64.
    """
    mask_BT = mask_BT.astype(np.float64)
    relevance_BHT: NDArray[np.float64] = np.einsum(
        "bi,bhij,bj->bhj", mask_BT, attention_BHTT.astype(np.float64), mask_BT
    )
    return relevance_BHT


def cls_received(attention_BHTT: NDArray[np.floating], mask_BT: NDArray[np.integer]) -> NDArray[np.float64]:
    """Attention from the first token times the number of tokens; see `amix.engine.extractor.relevance.cls_received`.

    Returns (B, H, T), float64.
    """
    mask_BT = mask_BT.astype(np.float64)
    count_B = mask_BT.sum(axis=1)
    first_BHT = attention_BHTT[:, :, 0].astype(np.float64)
    relevance_BHT: NDArray[np.float64] = np.einsum("bhj,bj,b->bhj", first_BHT, mask_BT, count_B)
    return relevance_BHT
