"""How well a windowed shuffle mixes, beside a uniform one.

    python bench/shuffling.py [--samples 1000000] [--per-shard 4096] [--json FILE]

The corpus is the worst case: sorted by class, two halves. Over batches of 64 of one epoch:

- shards in use: the most that are begun and not finished at a time, so what a cache must hold.
- shards in a batch: how many different ones a batch draws from, on average.
- class spread: standard deviation of the first class's share of a batch, over that of a uniform shuffle (1 = as good;
  8 = each batch is of one class).
- moved: mean distance between the place in the corpus and in the epoch, as a share of the samples; uniform: 1/3.
"""

import argparse
from pathlib import Path

import numpy as np
from measuring.turns import finish
from numpy.typing import NDArray

from amix.loaders.stream.order import order

BATCH = 64
WINDOWS = (0, 4_096, 16_384, 65_536, 262_144, None)  # None: the whole corpus


def figures(numbers: NDArray[np.int64], shards: NDArray[np.int64]) -> dict[str, float]:
    """Return what the module says, of an epoch."""
    met = shards[numbers]
    batches = met[: len(met) // BATCH * BATCH].reshape(-1, BATCH)
    is_first = (numbers < len(numbers) // 2)[: batches.size].reshape(-1, BATCH)
    places = np.argsort(numbers)
    count = int(shards[-1]) + 1
    first = np.full(count, len(met))
    np.minimum.at(first, met, np.arange(len(met)))
    last = np.zeros(count, np.int64)
    np.maximum.at(last, met, np.arange(len(met)))
    edges = np.zeros(len(met) + 1, np.int64)
    np.add.at(edges, first, 1)
    np.add.at(edges, last + 1, -1)
    return {
        "shards in use": float(np.cumsum(edges).max()),
        "shards in a batch": float(np.mean([len(np.unique(batch)) for batch in batches])),
        "class spread": float(is_first.mean(axis=1).std() / np.sqrt(0.25 / BATCH)),
        "moved": float(np.abs(places - np.arange(len(places))).mean() / len(places)),
    }


def main() -> None:
    """Print the table, write the list."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--per-shard", type=int, default=4_096)
    parser.add_argument("--json", type=Path, dest="out")
    given = parser.parse_args()
    shards = np.arange(given.samples) // given.per_shard
    rows: dict[str, dict[str, float]] = {"global": figures(order(given.samples, 0, 0)[:], shards)}
    for window in WINDOWS:
        width = given.samples if window is None else window
        numbers = order(given.samples, 0, 0, "window", shards=shards, window=width)[:]
        rows[f"window {width:,}"] = figures(numbers, shards)
    columns = list(rows["global"])
    lines = [f"| shuffle | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    lines += [
        f"| {name} | {' | '.join(format(row[column], '.3g') for column in columns)} |"
        for name, row in rows.items()
    ]
    results = [
        {"measure": f"{name}, {column}", "value": value, "target": None}
        for name, row in rows.items()
        for column, value in row.items()
    ]
    finish(lines, results, given.out)


if __name__ == "__main__":
    main()
