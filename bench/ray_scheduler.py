"""What Ray costs: `amix precompute` in two actors of a cluster on this machine, beside two workers of the local pool.

    python bench/ray_scheduler.py CORPUS --model MODEL [--texts 10000] [--repeats 3] [--work FOLDER] [--json FILE]

Both are the command line in a process of its own, from its start to its end, on texts drawn from CORPUS with an
extractor of layer 0, and take their turns. The cluster runs before and is not timed, as it would be in practice; that
its actors start is. `steady` counts the time in which workers had a unit, so it leaves starting up out. A
ratio is taken within a turn, the figures are medians over turns. The load of the machine before each run is noted: on a
busy one the system may give sessions of other processes another share, and then only tokens per second of the
workers' processor time compare.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from measuring import samples
from measuring.command import ROOT, child, precompute

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Ray starts workers with niceness 15: whatever else runs on a shared machine would take more from them than from ours.
os.environ["RAY_worker_niceness"] = "0"


def main() -> None:
    """Start a cluster, measure in turn, print the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus")
    parser.add_argument("--model", required=True)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="where the extractor is kept")
    parser.add_argument("--json", type=Path, dest="out")
    given = parser.parse_args()
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory(prefix="amix-bench-") as scratch:
        extractor = (given.work or Path(scratch)) / "layers-0"
        if not extractor.exists():
            extractor.parent.mkdir(parents=True, exist_ok=True)
            export = [
                sys.executable,
                "-m",
                "amix",
                "export",
                given.model,
                str(extractor),
                "--layers",
                "0",
                "--json",
            ]
            child(export, cwd=ROOT)
        drawn = samples.draw(samples.read(given.corpus), given.texts, given.seed)
        corpus = samples.write(Path(scratch) / "texts.parquet", drawn)
        cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 2,
                "node_ip_address": "127.0.0.2",  # Ray takes 127.0.0.1 for the address in the network
                "object_store_memory": 100_000_000,
                "include_dashboard": False,
            },
        )
        ways = {"local": (), "ray": ("--scheduler", "ray", "--address", cluster.address)}
        turns: list[dict[str, dict[str, float]]] = []
        try:
            for number in range(given.repeats):
                turn: dict[str, dict[str, float]] = {}
                for way in sorted(ways, reverse=bool(number % 2)):  # each comes first now and then
                    load = os.getloadavg()[0]
                    run = precompute(
                        corpus,
                        extractor,
                        Path(scratch),
                        "--workers",
                        "2",
                        "--samples-per-shard",
                        "256",
                        *ways[way],
                    )
                    totals = run.events[-1]["run"]
                    steady = 2 * run.tokens / totals["worker_seconds"]
                    turn[way] = {
                        "seconds": run.seconds,
                        "tokens_per_second": run.tokens / run.seconds,
                        "steady_tokens_per_second": steady,
                        "tokens_per_cpu_second": run.tokens / run.sums()["cpu_seconds"],
                        "load": load,
                    }
                    print(f"turn {number + 1}, {way}: {turn[way]}", file=sys.stderr)  # noqa: T201  progress
                turns.append(turn)
        finally:
            cluster.shutdown()
    results = {
        f"ray / local, {name}": statistics.median(turn["ray"][name] / turn["local"][name] for turn in turns)
        for name in ("tokens_per_second", "steady_tokens_per_second", "tokens_per_cpu_second")
    }
    for name, value in results.items():
        print(f"{name}: {value:.3f}")  # noqa: T201  a bench prints
    if given.out is not None:
        given.out.write_text(json.dumps({"texts": given.texts, "turns": turns, **results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
