"""Accuracy and calibration of the methods on one corpus: methods x training sizes x seeds, one JSON line a run.

    python bench/methods.py TRAIN DEV TEST --model MODEL --sizes 200,1000 --seeds 3 --out runs.jsonl

TRAIN, DEV and TEST are shard folders; with `-` for DEV the last epoch counts. Runs that stand in the output
file already are not repeated, so the command can be stopped and given again. The table goes to stdout.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from amix.train.config import TrainConfig
from amix.train.loop import train

METHODS: dict[str, dict[str, Any]] = {
    "none": {"method": "none"},
    "wordmixup": {"method": "wordmixup"},
    "attentionmix 0.8": {"method": "attentionmix", "head": "0.8"},
    "attentionmix 0.mean": {"method": "attentionmix", "head": "0.mean"},
}
METRICS = ("accuracy", "macro_f1", "nll", "ece")


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("train")
    parser.add_argument("dev")
    parser.add_argument("test")
    parser.add_argument("--model", required=True)
    parser.add_argument("--sizes", default="200,1000", help="training samples; 0 = all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()

    done = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    known = {(run["method"], run["size"], run["seed"]) for run in done}
    sizes = [int(size) for size in given.sizes.split(",")]
    for size in sizes:
        for seed in range(given.seeds):
            for name, options in METHODS.items():
                if (name, size, seed) in known:
                    continue
                config = TrainConfig(
                    **options,
                    seed=seed,
                    subset_seed=seed,
                    train_samples=size or None,
                    epochs=given.epochs,
                    lr=given.lr,
                )
                dev = None if given.dev == "-" else given.dev
                with tempfile.TemporaryDirectory() as folder:
                    out = Path(folder) / "run"
                    result = train(given.train, out, given.model, config, dev, [("test", given.test)])
                run = {
                    "method": name,
                    "size": size,
                    "seed": seed,
                    "epoch": result.epoch,
                    "seconds": result.seconds,
                }
                done.append({**run, "dev": result.dev, **result.eval["test"]})
                with given.out.open("a") as file:
                    file.write(json.dumps(done[-1]) + "\n")
    print(table(done, sizes))  # noqa: T201  a bench prints


def table(runs: list[dict[str, Any]], sizes: list[int]) -> str:
    """Return mean and standard deviation over seeds as Markdown."""
    lines = [f"| size | method | {' | '.join(METRICS)} |", "|---|---|" + "---|" * len(METRICS)]
    for size in sizes:
        for name in METHODS:
            same = [run for run in runs if run["method"] == name and run["size"] == size]
            cells = []
            for metric in METRICS:
                values = [run[metric] for run in same]
                spread = statistics.stdev(values) if len(values) > 1 else 0.0
                cells.append(f"{statistics.mean(values):.3f} ± {spread:.3f}")
            lines.append(f"| {size or 'all'} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
