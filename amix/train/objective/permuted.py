"""The control of what is said about attention: relevance that no longer belongs to its words.

Axes: B batch, S head specs, T tokens.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def permuted(relevance: Tensor, content_BT: Tensor, keys: Sequence[str], seed: int) -> Tensor:
    """Return each text's relevance with the values of its content in another order, the same for every head spec.

    A text keeps its values, so ratios and label weights are distributed as before; only which word has which value is
    left to chance. The order depends on `seed` and the text's key alone: as with relevance from the cache, a text is
    the same in every epoch and batch.
    relevance: (B, T) or (B, S, T).  content_BT: bool.  keys: row numbers, as the shards name them.
    Returns the shape and dtype of `relevance`, unchanged outside content.
    """
    source_BT = torch.arange(content_BT.shape[1], device=content_BT.device).repeat(len(content_BT), 1)
    for row, key in enumerate(keys):
        places = content_BT[row].nonzero()[:, 0]
        order = np.random.Generator(np.random.Philox([seed, int(key)])).permutation(len(places))
        source_BT[row, places] = places[torch.from_numpy(order).to(places.device)]
    if relevance.ndim == 3:
        return relevance.gather(2, source_BT[:, None].expand_as(relevance))
    return relevance.gather(1, source_BT)
