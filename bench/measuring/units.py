"""`amix precompute` through its Python interface, for what its workers say of every unit.

    python bench/measuring/units.py CORPUS OUT EXTRACTOR [--samples-per-shard 256] [--max-length 512]

Prints one JSON object: the sums over units of tokens, computed tokens (padding included), CPU seconds of the
workers, CPU seconds inside the session, and seconds per stage.
"""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from amix.loaders.corpus import CorpusOptions
from amix.loaders.precompute import PrecomputeOptions, precompute


def main() -> None:
    """Run and add up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus")
    parser.add_argument("out", type=Path)
    parser.add_argument("extractor", type=Path)
    parser.add_argument("--samples-per-shard", type=int, default=256)
    parser.add_argument("--max-length", type=int, default=512)
    given = parser.parse_args()
    sums: Counter[str] = Counter()

    def on_unit(summary: dict[str, Any]) -> None:
        for name in ("tokens", "computed_tokens", "cpu_seconds", "session_cpu_seconds", "seconds"):
            sums[name] += summary[name]
        for stage, seconds in summary["stages"].items():
            sums[f"stage {stage}"] += seconds

    precompute(
        given.corpus,
        given.out,
        extractor=given.extractor,
        corpus_options=CorpusOptions(no_labels=True),
        options=PrecomputeOptions(samples_per_shard=given.samples_per_shard, max_length=given.max_length),
        on_unit=on_unit,
    )
    print(json.dumps(sums))  # noqa: T201  its answer


if __name__ == "__main__":
    main()
