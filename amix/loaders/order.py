"""The order of an epoch: a function of manifest, seed and epoch, whatever the ranks and workers."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Shuffle = Literal["global", "none"]


def order(samples: int, seed: int, epoch: int, shuffle: Shuffle = "global") -> NDArray[np.int64]:
    """Return the sample numbers of an epoch, (samples,) int64, every one once.

    shuffle: `global` = a uniform permutation; `none` = corpus order.
    """
    match shuffle:
        case "global":
            # Philox is counter-based and specified, so the stream is the same on every platform.
            key: Any = np.random.SeedSequence([seed, epoch])
            return np.random.Generator(np.random.Philox(key)).permutation(samples)
        case "none":
            return np.arange(samples, dtype=np.int64)
