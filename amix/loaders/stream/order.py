"""The order of an epoch: a function of manifest, seed and epoch, the same for any number of ranks and workers."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from amix.loaders.stream.permutation import KeyedPermutation

Shuffle = Literal["global", "window", "none"]
Numbers = NDArray[np.int64]
WINDOW = 65_536
MOST_HELD = 1 << 24  # samples whose order is drawn as a whole: 134 MB


def order(
    samples: int,
    seed: int,
    epoch: int,
    shuffle: Shuffle = "global",
    *,
    shards: Numbers | None = None,
    window: int = WINDOW,
) -> Numbers | KeyedPermutation:
    """Return the sample numbers of an epoch, (samples,) int64, each once.

    shuffle: `global` = a uniform permutation, and above `MOST_HELD` samples one that computes its stretches, as if
        drawn uniformly; `window` = shards in a random order, the samples of each spread over its
        own size plus `window`, so that few shards are in use at a time; `none` = corpus order.
    shards: (samples,) the shard of each sample, for `window`.
    """
    match shuffle:
        case "global" if is_keyed(samples, shuffle):
            return KeyedPermutation(samples, seed, epoch)
        case "global":
            return _generator(seed, epoch).permutation(samples)
        case "window":
            assert shards is not None
            return _windowed(shards, window, _generator(seed, epoch))
        case "none":
            return np.arange(samples, dtype=np.int64)


def is_keyed(samples: int, shuffle: Shuffle) -> bool:
    """Return whether the order of an epoch is computed in stretches, and not drawn as a whole."""
    return shuffle == "global" and samples > MOST_HELD


def bucketed(
    numbers: Numbers, lengths: NDArray[np.int32], seed: int, epoch: int, *, batch_size: int, batches: int
) -> Numbers:
    """Return `numbers` rearranged so that texts of a batch are of similar length.

    Stretches of `batches` batches are sorted by length and cut into batches, which are then shuffled. Samples that do
    not fill a batch stay at the end as they are; sorted, they would be the longest texts each time.
    lengths: (samples,) tokens of every sample.
    """
    whole = len(numbers) // batch_size
    head = numbers[: whole * batch_size]
    stretch = np.arange(len(head)) // (batch_size * batches)
    by_length = np.lexsort((lengths[head], stretch))
    turn = np.arange(whole) // batches + _generator(seed, epoch, 1).random(whole)
    cut = head[by_length].reshape(whole, batch_size)[np.argsort(turn, kind="stable")]
    return np.concatenate([cut.reshape(-1), numbers[len(head) :]])


def _windowed(shards: Numbers, window: int, generator: np.random.Generator) -> Numbers:
    _, place, sizes = np.unique(shards, return_inverse=True, return_counts=True)
    turn = generator.permutation(len(sizes))
    begins = np.empty(len(sizes), np.int64)
    begins[turn] = np.cumsum(sizes[turn]) - sizes[turn]
    drawn = begins[place] + generator.random(len(shards)) * (sizes[place] + window)
    return np.argsort(drawn, kind="stable")


def _generator(*seeds: int) -> np.random.Generator:
    # Philox is specified, so its stream is the same on every platform.
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seeds)))
