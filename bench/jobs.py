"""What a second job brings to a comparison on two cores.

    python bench/jobs.py TRAIN TEST --model MODEL [--samples 256] [--epochs 1] [--repeats 3] [--json FILE]

The same four runs (`none` with four seeds, reported on TEST) by `amix compare --jobs 1` on one core and by `--jobs 2`
on two, in turn. Times include the start of the processes. The figure is the median over turns of the ratio of the two.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring.boundtable import Bound, bound_table
from measuring.turns import finish

TABLE: list[Bound] = [("ratio", "runs per hour, two jobs over one job of one thread", 1.6, ">=")]


def seconds(given: argparse.Namespace, out: Path, jobs: int) -> float:
    """Return what a comparison takes with `jobs` jobs on as many cores."""
    cores = sorted(os.sched_getaffinity(0))[:jobs]
    command = [sys.executable, "-m", "amix", "compare", given.train, str(out), "--model", given.model]
    command += ["--eval", given.test, "--methods", "none", "--seeds", "4", "--samples", str(given.samples)]
    command += ["--epochs", str(given.epochs), "--jobs", str(jobs), "--device", "cpu"]
    began = time.perf_counter()
    subprocess.run(
        command, check=True, capture_output=True, preexec_fn=lambda: os.sched_setaffinity(0, cores)
    )
    return time.perf_counter() - began


def main() -> None:
    """Measure in turn, print the table, write the list."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--model", required=True)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, dest="out")
    given = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(given.repeats):
            one, two = (seconds(given, Path(folder, f"{turn}-{jobs}"), jobs) for jobs in (1, 2))
            ratios.append(one / two)
            print(f"one job {one:.1f} s, two {two:.1f} s", file=sys.stderr)  # noqa: T201  progress
    lines, results = bound_table(TABLE, {"ratio": ratios})
    finish(lines, results, given.out)


if __name__ == "__main__":
    main()
