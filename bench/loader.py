"""How fast and how frugal shards are read and written, beside the loaders that people use today.

    python bench/loader.py --work FOLDER [--peers-python VENV/bin/python] [--samples 8000] [--repeats 5]
                           [--million 1000000] [--json FILE]

Each loader reads its own format of the same texts (bench/measuring/payload.py: 72 heads in float16, short and long
ones), each in a process of its own with no worker processes, in batches of 64 with one head's relevance, collated to
tensors by the same code. Whole epochs with the file cache warm; everything takes its turn --repeats times, a ratio is
taken within a turn, and figures are medians over turns. What amix reads is verified (CRC-32), what the others read is
not.

--peers-python: an environment with mosaicml-streaming and litdata, which ask for a torch of their own.
--million: samples of the cache that is opened to see what a start takes; it holds one head, as its index is what
counts, and takes 3 GB of --work.
"""

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock
from zlib import crc32

import numpy as np
from measuring.boundtable import Bound, bound_table, chart
from measuring.caches import write_cache
from measuring.command import ROOT, child
from measuring.payload import LENGTHS, Text
from measuring.turns import finish, in_turn

PEERS = ("wds", "mds", "litdata")
NAMES = {
    "amix": "amix",
    "wds": "WebDataset",
    "pipeline": "amix's WebDataset pipeline",
    "mds": "MosaicML Streaming",
    "litdata": "LitData",
}
TABLE: list[Bound] = [
    *((f"{kind} / wds", f"{kind} samples/s over WebDataset", 20.0, ">=") for kind in LENGTHS),
    *(
        (f"{kind} / {peer}", f"{kind} samples/s over {NAMES[peer]}", 5.0, ">=")
        for peer in PEERS[1:]
        for kind in LENGTHS
    ),
    *(
        (f"{kind}, random / {peer}", f"{kind} samples/s over {NAMES[peer]}'s bare random access", 2.0, ">=")
        for peer in PEERS[1:]
        for kind in LENGTHS
    ),
    *((f"{kind}, bytes", f"bytes read over bytes needed, {kind}", 1.5, "<=") for kind in LENGTHS),
    *(
        (f"{kind}, pipeline / wds", f"{kind} samples/s of our pipeline over WebDataset's", 3.0, ">=")
        for kind in LENGTHS
    ),
    *(
        (f"{kind}, pipeline / amix", f"{kind} samples/s of our pipeline over RelevanceLoader", 0.0, ">=")
        for kind in LENGTHS
    ),
    *(
        (f"{kind}, s3", f"{kind} samples/s from S3 over local, from the second epoch on", 0.95, ">=")
        for kind in LENGTHS
    ),
    ("start", "seconds to open a million samples and deliver a batch", 1.0, "<="),
    ("memory", "MB of memory of that reader, beyond import torch", 100.0, "<="),
    ("writing", "short samples/s written over wds.ShardWriter", 2.0, ">="),
]


class Bench:
    """Writes every format once; every call of `turn` measures everything once and notes the figures."""

    def __init__(self, given: argparse.Namespace, scratch: Path) -> None:
        """Write what --work does not hold."""
        self.given, self.scratch = given, scratch
        self.figures: dict[str, list[float]] = defaultdict(list)
        own = [name for name in NAMES if name in ("amix", "wds") or (given.peers_python and name in PEERS)]
        self.formats = own  # those that are written; the pipeline reads amix's
        for kind in LENGTHS:
            for name in self.formats:
                if not self._folder(kind, name).exists():
                    self._run("write", name, self._folder(kind, name), kind)
        self.million = given.work / f"million-{given.million}"
        if given.million and not self.million.exists():
            write_cache(self.million, _small_texts(given.million), heads=1, max_length=8)

    def turn(self) -> None:
        """Measure everything once."""
        for kind in LENGTHS:
            for task, called in (("read", kind), ("random", f"{kind}, random")):
                rates = {
                    name: self._run(task, name, self._folder(kind, name), kind)["rate"]
                    for name in self.formats
                    if task == "read" or name != "wds"
                }
                if task == "read":
                    rates["pipeline"] = self._run("read", "pipeline", self._folder(kind, "amix"), kind)[
                        "rate"
                    ]
                    self._note(f"{kind}, pipeline / wds", rates["pipeline"] / rates["wds"])
                    self._note(f"{kind}, pipeline / amix", rates["pipeline"] / rates["amix"])
                for name, rate in rates.items():
                    self._note(f"{called}, {name}", rate)
                    if name not in ("amix", "pipeline"):
                        self._note(f"{called} / {name}", rates["amix"] / rate)
            self._note(f"{kind}, s3", self._run("s3", "amix", self._folder(kind, "amix"), kind)["ratio"])
        if self.given.million:
            answer = self._run("open", "amix", self.million, "short")
            self._note("start", answer["seconds"])
            self._note("memory", answer["bytes"] / 1e6)
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            rates = {
                name: self._run("write", name, Path(folder) / name, "short")["rate"] for name in self.formats
            }
        for name, rate in rates.items():
            self._note(f"writing, {name}", rate)
        self._note("writing", rates["amix"] / rates["wds"])

    def count_bytes(self) -> None:
        """Note how many bytes a batch takes from the files, page rounding apart, over those that it is made of."""
        from amix.loaders.shards import reader as shardreader
        from amix.loaders.shards.layout import CRC_DTYPE, INDEX_DTYPE
        from amix.loaders.stream.dataset import RelevanceDataset

        for kind in LENGTHS:
            dataset = RelevanceDataset(self._folder(kind, "amix"), head="3.5")
            counted: list[int] = []

            def counting(data: bytes, counted: list[int] = counted) -> int:
                counted.append(len(data) + CRC_DTYPE.itemsize)
                return crc32(data)

            with mock.patch.object(shardreader, "crc32", counting):  # every byte read goes through it
                batch: Any = dataset.batch(range(len(dataset)))  # Any: its values are arrays and lists
            needed = int(batch["attention_mask"].sum()) * 4  # an id and a half
            self._note(f"{kind}, bytes", (sum(counted) + len(dataset) * INDEX_DTYPE.itemsize) / needed)

    def _run(self, task: str, name: str, folder: Path, kind: str) -> dict[str, Any]:
        python = sys.executable if name in ("amix", "wds", "pipeline") else self.given.peers_python
        arguments = [python, str(ROOT / "bench/peers/loading.py"), task, name, str(folder), "--kind", kind]
        return child([*arguments, "--samples", str(self.given.samples)])

    def _folder(self, kind: str, name: str) -> Path:
        folder: Path = self.given.work / f"{kind}-{self.given.samples}-{name}"
        return folder

    def _note(self, figure: str, value: float) -> None:
        self.figures[figure].append(value)
        print(f"  {figure}: {value:,.4g}", file=sys.stderr)  # noqa: T201  progress


def _small_texts(count: int) -> Iterator[Text]:
    relevance_HT = np.ones((1, 8), np.float32)
    for number in range(count):
        yield Text(np.arange(1_000, 1_008, dtype=np.uint16), relevance_HT, number % 2)


def main() -> None:
    """Measure in turn, print the tables, write the list."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="where texts are kept in every format")
    parser.add_argument("--peers-python", help="interpreter with mosaicml-streaming and litdata")
    parser.add_argument("--samples", type=int, default=8_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--million", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, dest="out")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)

    with tempfile.TemporaryDirectory(prefix="bench-", dir=given.work) as scratch:
        bench = Bench(given, Path(scratch))
        bench.count_bytes()
        in_turn(given.repeats, bench.turn)
    lines, results = bound_table(TABLE, bench.figures)
    lines += [
        "",
        "| samples/s | short | short, random | long | long, random | writing |",
        "|---|---|---|---|---|---|",
    ]
    for name in [*bench.formats, "pipeline"]:
        columns = [f"{called}, {name}" for kind in LENGTHS for called in (kind, f"{kind}, random")]
        cells = [
            f"{np.median(bench.figures[column]):,.0f}" if bench.figures.get(column) else "-"
            for column in [*columns, f"writing, {name}"]
        ]
        lines.append(f"| {NAMES[name]} | {' | '.join(cells)} |")
    for kind in LENGTHS:
        names = {f"{kind}, {name}": called for name, called in NAMES.items()}
        results += chart(f"Loading, {kind} texts", "samples/s", names, bench.figures)
    finish(lines, results, given.out)


if __name__ == "__main__":
    main()
