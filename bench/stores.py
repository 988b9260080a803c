"""What it costs to precompute into a store, beside a local disk.

    python bench/stores.py CORPUS --extractor EXTRACTOR [--limit 10000] [--repeats 3] [--json FILE] [OPTION ...]

The store is an S3-compatible server on loopback (moto, one process). It shares the cores with the run, so the CPU
seconds that it takes are part of the price here. Both run from start to end of the command line, in turn, the order
changing each time; a ratio is taken within a turn, the figure is the median. `CPU ratio` is that of CPU seconds, the
server's included: it can be trusted on a machine that is busy with other work. OPTIONs are those of `amix precompute`.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import fsspec

SERVER = """if True:
    import threading
    from moto.server import ThreadedMotoServer
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    threading.Event().wait()
"""


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has taken so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(given: argparse.Namespace, out: str) -> tuple[float, float]:
    """Run `amix precompute` into `out` and return how many seconds it took, and how many of the CPU."""
    arguments = [given.corpus, out, "--extractor", str(given.extractor), "--limit", str(given.limit)]
    began, before = time.perf_counter(), os.times()
    subprocess.run(
        [sys.executable, "-m", "amix", "precompute", *arguments, *given.options],
        check=True,
        capture_output=True,
    )
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, cpu


def measure(given: argparse.Namespace, scratch: Path, server: int) -> list[dict[str, float]]:
    """Return the figures of each turn."""
    system = fsspec.filesystem("s3")
    system.mkdir("bench")
    turns = []
    for turn in range(given.repeats):
        figures: dict[str, float] = {"load": os.getloadavg()[0]}
        for place in ("disk", "store") if turn % 2 == 0 else ("store", "disk"):
            before = cpu_seconds(server)
            out = str(scratch / str(turn)) if place == "disk" else f"s3://bench/{turn}"
            figures[place], figures[f"{place} CPU"] = run(given, out)
            if place == "store":
                figures["server CPU"] = cpu_seconds(server) - before
                system.rm(out, recursive=True)
            else:
                shutil.rmtree(out)
        figures["ratio"] = figures["disk"] / figures["store"]
        figures["CPU ratio"] = figures["disk CPU"] / (figures["store CPU"] + figures["server CPU"])
        turns.append(figures)
        print({name: round(value, 2) for name, value in figures.items()}, flush=True)  # noqa: T201  a bench prints
    return turns


def main() -> None:
    """Print each turn and the medians, write the list."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus")
    parser.add_argument("--extractor", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, dest="out")
    given, options = parser.parse_known_args()
    given.options = options
    with (
        subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server,
        tempfile.TemporaryDirectory() as scratch,
    ):
        assert server.stdout is not None
        os.environ |= {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.stdout.readline().strip()}",
            "AWS_ACCESS_KEY_ID": "name",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        try:
            turns = measure(given, Path(scratch), server.pid)
        finally:
            server.kill()
    medians: dict[str, Any] = {
        name: round(statistics.median(turn[name] for turn in turns), 3) for name in turns[0]
    }
    print(f"over disk: {medians['ratio']}x, CPU {medians['CPU ratio']}x; medians {medians}")  # noqa: T201  a bench prints
    if given.out is not None:
        given.out.write_text(json.dumps({"medians": medians, "turns": turns}, indent=1) + "\n")


if __name__ == "__main__":
    main()
