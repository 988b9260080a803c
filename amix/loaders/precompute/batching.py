"""Which texts of a unit go through the encoder together: a function of their lengths alone."""

from collections.abc import Iterator, Sequence

# Small enough for the score tensors of a layer to stay in the processor's caches, large enough for fast products.
MAX_TOKENS = 2048  # rows x longest
MAX_SCORES = 2**18  # rows x longest^2, per head


def length_batches(
    lengths: Sequence[int], max_tokens: int = MAX_TOKENS, max_scores: int = MAX_SCORES
) -> Iterator[list[int]]:
    """Yield positions in batches of similar length, shortest first; every position once.

    rows x longest stays within `max_tokens` and rows x longest^2 within `max_scores`; one text always fits.
    """
    batch: list[int] = []
    for position in sorted(range(len(lengths)), key=lengths.__getitem__):
        longest = lengths[position]  # ascending, so the newest is the longest
        rows = len(batch) + 1
        if batch and (rows * longest > max_tokens or rows * longest * longest > max_scores):
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch
