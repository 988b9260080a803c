"""A test set in which some classes are rarer: what a classifier meets when the world is not like its training texts.

    python bench/measuring/thinning.py TEST.jsonl OUT.jsonl --share 4=0.25 --share 5=0.25

writes the rows of JSON Lines in their order, of classes 4 and 5 a quarter of them, drawn at random. No row comes twice,
so test texts stay independent. A cache of it: `amix precompute OUT.jsonl CACHE --labels-from TRAIN`, where TRAIN is the
cache that is trained on.
"""

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path


def thinned(lines: Sequence[str], shares: Mapping[str, float], seed: int = 0) -> list[str]:
    """Return lines `{"label": ...}` in their order: of each class in `shares` that share, rounded, of others all.

    shares: by label as text.  seed: which are kept.
    Raises ValueError for a class that no line has, and for a share outside 0..1.
    """
    labels = [str(json.loads(line)["label"]) for line in lines]
    kept = set(range(len(lines)))
    for label, share in shares.items():
        numbers = [number for number, each in enumerate(labels) if each == label]
        if not numbers or not 0.0 <= share <= 1.0:
            raise ValueError(f"--share {label}={share:g}: name a class that occurs, and a share from 0 to 1.")
        left = random.Random(f"{seed} {label}").sample(numbers, round(share * len(numbers)))
        kept -= set(numbers) - set(left)
    return [lines[number] for number in sorted(kept)]


def main() -> None:
    """Write OUT, and say how many rows of each class it has."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", action="append", required=True, metavar="LABEL=SHARE")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    shares = {label: float(share) for label, _, share in (each.rpartition("=") for each in given.share)}
    lines = thinned(given.source.read_text("utf-8").splitlines(keepends=True), shares, given.seed)
    given.out.write_text("".join(lines), "utf-8")
    counts = Counter(str(json.loads(line)["label"]) for line in lines)
    sys.stderr.write(f"{len(lines)} rows: {dict(sorted(counts.items()))}\n")


if __name__ == "__main__":
    main()
