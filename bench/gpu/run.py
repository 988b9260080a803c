"""Measure on a GPU within a limit of time, and write every figure to the disk as soon as it is there.

    bench/gpu/run.sh engine|table|evidence [--seconds N] [--smoke]
    bench/gpu/run.sh summary

Folders come from the environment: AMIX_GPU (default /tmp/gpu) holds `data`, `minilm` and `mpnet`; AMIX_WORK (default
$AMIX_GPU/work) gets extractors, caches and comparisons; OUT (default gpu-out) gets the results; AMIX_RESULTS (default
docs/results/gpu) has those of earlier calls, which are continued. --smoke runs the same code on the CPU in seconds, on
tiny random encoders and made-up texts, which shows that it runs and measures nothing.
"""

import argparse
import importlib
import sys
from pathlib import Path

# Where the packages of the benches are. Not in PYTHONPATH: the programs that are started from here need not see them.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# Two minutes less than the ten that a command may get: parts are joined and packages installed before, runs end after.
SECONDS = {"engine": 480.0, "table": 480.0, "evidence": 480.0}


def main() -> int:
    """Run one mode; return 1 if one of its pieces failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mode", choices=[*SECONDS, "summary"])
    limits = ", ".join(f"{seconds:g} {mode}" for mode, seconds in SECONDS.items())
    parser.add_argument("--seconds", type=float, help=f"what does not fit is skipped ({limits})")
    parser.add_argument("--jobs", type=int, help="runs at a time on the card (12; 1 with --smoke)")
    parser.add_argument("--smoke", action="store_true", help="on the CPU, tiny")
    given = parser.parse_args()

    from gpu.places import Places

    places = Places.from_environment(smoke=given.smoke)
    if given.mode == "summary":
        from gpu.summary import summary

        print(summary(places.out))  # noqa: T201  its answer
        return 0

    from gpu.budget import Budget
    from gpu.journal import Journal
    from gpu.results import keep, restore
    from gpu.scale import REAL, SMOKE

    scale = SMOKE if given.smoke else REAL
    if given.smoke:
        from gpu.smoke import write_inputs

        write_inputs(places.gpu)
    # A measurement begins anew; a comparison is continued.
    anew = given.mode == "engine"
    if not anew:
        restore(places, given.mode)
    with Journal(places.out / f"{given.mode}.jsonl", anew=anew) as journal:
        budget = Budget(given.seconds or SECONDS[given.mode], journal)
        try:
            measure = importlib.import_module(f"gpu.{given.mode}").measure
            measure(places, scale, budget, given.jobs or scale.jobs)
        finally:
            if not anew:
                keep(places, given.mode)
        return 1 if budget.failed else 0


if __name__ == "__main__":
    sys.exit(main())
