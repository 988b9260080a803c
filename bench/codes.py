"""What storing relevance in fewer bytes does to mixing ratios.

    python bench/codes.py CACHE [--pairs 2000] [--json FILE]

CACHE holds float32 relevance (`amix precompute --dtype float32`). Pairs of its texts are mixed by every stored head
with the relevance as it is, and as `amix repack --dtype` stores it. Of |ratio - ratio in float32| over the positions
where both texts have content: the mean over heads, the worst head's mean, and the largest of all; of the label weight,
the mean; and the bytes that a token takes in the tars.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring.turns import finish

from amix.engine.mixing.attentionmix import AttentionMix
from amix.loaders.shards.rewrite.repack import RepackOptions, repack
from amix.loaders.stream.dataset import RelevanceDataset

DTYPES = ("float32", "float16", "uint8")
BATCH = 50


def ratios(dataset: RelevanceDataset, numbers: list[int]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return ratios (heads, n) where both texts have content, and label weights (heads, B), batch by batch."""
    found, weights = [], []
    for begin in range(0, len(numbers), BATCH):
        batch: dict[str, torch.Tensor] = {
            name: torch.from_numpy(value)
            for name, value in dataset.batch(numbers[begin : begin + BATCH]).items()
            if isinstance(value, np.ndarray)
        }
        size = len(batch["attention_mask"])
        partner = torch.arange(size).roll(1)
        both = batch["content"] & batch["content"][partner]
        plans = [
            AttentionMix().plan(
                batch["attention_mask"],
                relevance=batch["relevance"][:, head],
                content=batch["content"],
                partner=partner,
            )
            for head in range(batch["relevance"].shape[1])
        ]
        found.append(torch.stack([plan.ratio[both] for plan in plans]))
        weights.append(torch.stack([plan.label_weight for plan in plans]))
    return found, weights


def main() -> None:
    """Print the table, write the list."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cache", type=Path)
    parser.add_argument("--pairs", type=int, default=2_000)
    parser.add_argument("--json", type=Path, dest="out")
    given = parser.parse_args()
    plain = RelevanceDataset(given.cache, head=None)
    if plain.manifest.layout.dtype != "float32":
        parser.error(
            f"{given.cache} holds {plain.manifest.layout.dtype}; float32 is what the others are compared with."
        )
    heads = "|".join(f"{layer}.{head}" for layer, head in plain.manifest.heads)
    count = min(given.pairs, len(plain))
    numbers = np.random.default_rng(0).permutation(len(plain))[:count].tolist()
    lines = [
        "| stored as | bytes per token | mean | worst head | largest | label weight |",
        "|---|---|---|---|---|---|",
    ]
    results: list[dict[str, Any]] = []
    true: tuple[list[torch.Tensor], list[torch.Tensor]] | None = None
    with tempfile.TemporaryDirectory() as temporary:
        for dtype in DTYPES:
            folder = Path(temporary) / dtype
            manifest = repack([given.cache], folder, RepackOptions(dtype=dtype))  # type: ignore[arg-type]  # one of its literals
            seen = ratios(RelevanceDataset(folder, head=heads), numbers)
            true = true or seen
            apart, of_labels = (
                torch.cat([one - two for one, two in zip(*parts, strict=True)], dim=1).abs()
                for parts in zip(seen, true, strict=True)
            )
            figures = {
                "bytes per token": manifest.tar_bytes / manifest.tokens,
                "mean": float(apart.mean()),
                "worst head": float(apart.mean(dim=1).max()),
                "largest": float(apart.max()),
                "label weight": float(of_labels.mean()),
            }
            lines.append(f"| {dtype} | {' | '.join(format(value, '.3g') for value in figures.values())} |")
            results += [
                {"measure": f"{dtype}, {name}", "value": value, "target": None}
                for name, value in figures.items()
            ]
    finish(lines, results, given.out)


if __name__ == "__main__":
    main()
