"""The folder in which the blocks of a page find what the page takes for granted: corpora, an extractor, shards."""

import csv
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.conftest import named, write_jsonl

Rows = Sequence[Mapping[str, Any]]


def fill(folder: Path, rows: Rows, extractor: Path, train: Path, test: Path) -> None:
    """Write the workspace. rows: sixty texts with labels.  train, test: caches of forty and twenty of them."""
    shutil.copytree(extractor, folder / "extractor")
    for name, cache in (("train", train), ("validation", test), ("test", test)):
        shutil.copytree(cache, folder / "shards" / name)
    texts = list(map(named, rows))
    for name, part in (("train", texts[:40]), ("validation", texts[40:50]), ("test", texts[50:])):
        write_jsonl(folder / f"{name}.jsonl", part)
    write_jsonl(folder / "unlabelled.jsonl", [{"text": row["text"]} for row in texts[40:]])
    write_jsonl(folder / "topics.jsonl", [{**row, "label": _topics(row["text"])} for row in texts])
    for name, part in (("reviews.csv", texts[:40]), ("test.csv", texts[40:])):
        numbered = [(number, row["text"], row["label"]) for number, row in enumerate(part)]
        write_csv(folder / name, ("id", "review", "stars"), numbered)
    pairs = zip(texts, [*texts[7:], *texts[:7]], strict=True)
    kinds = ("contradicts", "entails")
    lines = [(one["text"], other["text"], kinds[one["label"] == other["label"]]) for one, other in pairs]
    write_csv(folder / "pairs.csv", ("text", "other", "label"), lines)


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def _topics(text: str) -> list[str]:
    return [topic for topic in ("film", "story", "acting", "script") if topic in text]
