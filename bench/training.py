"""How many tokens per second training takes in, beside the Hugging Face Trainer.

    python bench/training.py SHARDS --model MODEL [--texts 1024] [--batch-size 32] [--repeats 3] [--json FILE]

Plain training with batches in random order and of similar length and attentionmix with cached relevance, all by
`amix train`, and the Trainer with and without `group_by_length` take turns on the same texts
(bench/peers/training.py), each in a process of its own that has all cores. A ratio is taken within a turn; figures are
medians over turns.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

from measuring.boundtable import Bound, bound_table, chart
from measuring.command import ROOT, child
from measuring.turns import finish, in_turn

NAMES = {
    "none": "amix, none",
    "none grouped": "amix, none, texts of similar length",
    "attentionmix": "amix, attentionmix",
    "trainer": "Trainer",
    "trainer grouped": "Trainer, group_by_length",
}
TABLE: list[Bound] = [
    ("none / trainer", "tokens/s of plain training over the Trainer", 1.0, ">="),
    (
        "none grouped / trainer grouped",
        "tokens/s of plain training over the Trainer, both with texts of similar length",
        1.0,
        ">=",
    ),
    ("none grouped / none", "tokens/s with texts of similar length over random batches", 1.0, ">="),
    ("attentionmix / none", "tokens/s of attentionmix over plain training", 0.97, ">="),
]


def turn(given: argparse.Namespace, figures: dict[str, list[float]]) -> None:
    """Measure every kind once."""
    rates = {}
    for kind in NAMES:
        script = [sys.executable, str(ROOT / "bench/peers/training.py"), kind, given.shards]
        script += ["--model", given.model, "--texts", str(given.texts), "--batch-size", str(given.batch_size)]
        took = child(script)
        rates[kind] = took["tokens"] / took["seconds"]
        print(f"  {NAMES[kind]}: {rates[kind]:,.0f} tokens/s", file=sys.stderr)  # noqa: T201  progress
    for kind, rate in rates.items():
        figures[kind].append(rate)
        for other in rates:
            figures[f"{kind} / {other}"].append(rate / rates[other])


def main() -> None:
    """Measure in turn, print the tables, write the list."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shards")
    parser.add_argument("--model", required=True)
    parser.add_argument("--called", default="these texts", help="what the results call the texts")
    parser.add_argument("--texts", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, dest="out")
    given = parser.parse_args()
    figures: dict[str, list[float]] = defaultdict(list)
    in_turn(given.repeats, lambda: turn(given, figures))
    lines, results = bound_table(TABLE, figures)
    rates = chart(f"Training, {given.called}", "tokens/s", NAMES, figures)
    lines += ["", "| training loop | tokens/s |", "|---|---|"]
    lines += [f"| {rate['measure']} | {rate['value']:,.0f} |" for rate in rates]
    finish(lines, results + rates, given.out)


if __name__ == "__main__":
    main()
