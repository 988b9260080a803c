"""Labelled texts as long as those of MR and IMDB, without sense, for whoever has neither at hand."""

import json
import random
from pathlib import Path

from measuring.command import ROOT

_SOURCE = ROOT / "amix/cli/demo_data/train.jsonl"
# Words a text: the median, the spread of its logarithm, the least and the most; fitted to MR and IMDB.
LENGTHS = {"short": (21, 0.53, 1, 59), "long": (174, 0.65, 10, 2_470)}


def write(path: Path, kind: str, count: int) -> Path:
    """Write `count` texts, the same each time, as JSON Lines."""
    rng = random.Random(0)
    words = [
        word for line in _SOURCE.read_text("utf-8").splitlines() for word in json.loads(line)["text"].split()
    ]
    median, spread, least, most = LENGTHS[kind]
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            size = min(max(round(median * rng.lognormvariate(0, spread)), least), most)
            row = {"text": " ".join(rng.choices(words, k=size)), "label": "ab"[number % 2]}
            file.write(json.dumps(row) + "\n")
    return path
