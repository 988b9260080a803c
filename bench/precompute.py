"""How fast and how frugal `amix precompute` is, beside the loops that people write today.

    python bench/precompute.py CORPUS --model MODEL [--samples 128] [--repeats 5] [--optimum-python VENV/bin/python]
                               [--measures speed,workers,memory] [--long CORPORA] [--work FOLDER] [--json FILE]

Ours is the command line in a process of its own, from its start to its end, with text as Parquet going in and published
shards coming out, so starting up counts. A peer (bench/peers/loop.py) is timed without imports and loading. Both have
all cores. Rates are in tokens of the texts, padding not counted. Peers get --samples texts, ours 16 to 128 times as
many of the same distribution of lengths, so that starting up is a small share; `steady` leaves it out. Everything
takes its turn --repeats times; a ratio is taken within a turn, and the figures are medians over turns.

The ceiling is the time that the products needed by exactly these tokens take at the rates measured in the same turn
(bench/measuring/ceiling.py); `with softmax` adds the exponentials.

--long takes an hour: it compares runs over all of CORPORA (a glob; no labels are read) with runs over samples.
--work keeps extractors and Optimum's graph between runs; use a new folder when exporting or the model has changed.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from measuring import ceiling, samples
from measuring.command import ROOT, Run, child, precompute
from measuring.speedtable import ALL, FIRST, PAIR, STAGES, VARIANTS, report
from measuring.turns import finish, in_turn

LAYERS = {ALL: "all", PAIR: "0,1", FIRST: "0"}
SHARE = {ALL: 16, PAIR: 32, FIRST: 128}  # texts of ours for each of the peers'
FOR_ONE = 8  # the same where one worker does them alone
SHARD = ("--samples-per-shard", "256")
MEASURES = ("speed", "workers", "memory")


class Bench:
    """Draws the samples once; every call of `turn` measures everything once and notes the figures."""

    def __init__(self, given: argparse.Namespace, scratch: Path) -> None:
        """Read the corpus, write the samples, export what --work does not hold."""
        self.given, self.scratch = given, scratch
        self.figures: dict[str, list[float]] = defaultdict(list)
        self.cores = len(os.sched_getaffinity(0))
        self.model = str(Path(given.model).resolve()) if Path(given.model).exists() else given.model
        self.extractors = {name: self._extractor(layers) for name, layers in LAYERS.items()}
        texts = samples.read(given.corpus)
        drawn = {name: samples.draw(texts, given.samples * SHARE[name], given.seed) for name in VARIANTS}
        tokenizer = self.extractors[ALL] / "tokenizer.json"
        self.lengths = {name: samples.lengths(tokenizer, drawn[name], given.max_length) for name in VARIANTS}
        self.corpora = {name: self._write(name, drawn[name]) for name in VARIANTS}
        self.for_one = self._write("one", samples.draw(texts, given.samples * FOR_ONE, given.seed))
        self.longest = self._write("longest", samples.longest(texts, 4 * given.samples))
        self.two = self._write("two", texts[:2])
        self.peer_texts = scratch / "texts.json"
        self.peer_texts.write_text(json.dumps(samples.draw(texts, given.samples, given.seed)))
        self.graph = self._optimum_graph() if given.optimum_python else None

    def turn(self) -> None:
        """Measure all that was asked for, once."""
        if "speed" in self.given.measures:
            self._speed()
        if "workers" in self.given.measures:
            one = self._ours(ALL, self.for_one, *SHARD, single=True).seconds
            self._note("two workers", one / self._ours(ALL, self.for_one, *SHARD).seconds)
        if "memory" in self.given.measures:
            self._note("peak", self._ours(ALL, self.longest, *SHARD, watched=True).worker_bytes / 1e9)

    def long(self) -> None:
        """Compare runs over all of --long with runs over samples of it; short ones before, amid and after the long."""
        texts, whole = samples.read(self.given.long), self.given.long
        small = self._write("1,000", samples.draw(texts, 1_000, self.given.seed))
        part = self._write("10,000", samples.draw(texts, 10_000, self.given.seed))
        few, many = (self._ours(FIRST, path, *SHARD, watched=True).worker_bytes for path in (small, whole))
        self._note("growth", many / few - 1)
        start = self._ours(PAIR, self.two, "--samples-per-shard", "1").seconds

        def per_token(run: Run) -> float:
            return (run.seconds - start) / run.tokens

        shorts = [per_token(self._ours(PAIR, part, *SHARD))]
        # A machine's speed changes over the long run more than what is asked about, so it is held now and then.
        long = self._ours(
            PAIR, whole, *SHARD, interlude=lambda: shorts.append(per_token(self._ours(PAIR, part, *SHARD)))
        )
        shorts.append(per_token(self._ours(PAIR, part, *SHARD)))
        for seconds in shorts:
            self._note("10,000 texts, microseconds per token", 1e6 * seconds)
        self._note("scaling", per_token(long) / statistics.mean(shorts))

    def _speed(self) -> None:
        tokens_per_second = {"eager": self._peer(sys.executable, "eager")}
        if self.graph is not None:
            tokens_per_second["optimum"] = self._peer(self.given.optimum_python, "optimum")
        for peer, rate in tokens_per_second.items():
            self._note(peer, rate)
        sizes = ceiling.sizes(json.loads((self.extractors[ALL] / "config.json").read_text()))
        arguments = [f"--{name}={value}" for name, value in (sizes | {"threads": self.cores}).items()]
        rates = child([sys.executable, str(ROOT / "bench/measuring/ceiling.py"), *arguments])
        for kind, rate in rates.items():
            self._note(f"rate of {kind}", rate)
        for name in VARIANTS:
            start = self._ours(name, self.two, "--samples-per-shard", "1").seconds
            run = self._ours(name, self.corpora[name], *SHARD)
            steady = run.tokens / (run.seconds - start)
            for figure, value in {"start": start, "rate": run.tokens / run.seconds, "steady": steady}.items():
                self._note(f"{name}, {figure}", value)
            for peer, rate in tokens_per_second.items():
                self._note(f"{name} / {peer}", run.tokens / run.seconds / rate)
                self._note(f"{name} / {peer}, steady", steady / rate)
            self._account(name, run.sums())
            layers = _layers(self.extractors[name])
            needed = ceiling.operations(self.lengths[name], layers, **sizes)
            for figure, exponentials in {"ceiling": False, "ceiling with softmax": True}.items():
                least = ceiling.seconds(needed, rates, exponentials=exponentials)
                self._note(f"{name}, {figure}", least / (run.seconds - start))

    def _account(self, name: str, sums: Mapping[str, float]) -> None:
        """Note what the workers of a run say of their own time."""
        self._note(f"{name}, padding", 1 - sums["tokens"] / sums["computed_tokens"])
        self._note(f"{name}, session share", sums["session_cpu_seconds"] / sums["cpu_seconds"])
        for stage in STAGES:
            self._note(f"{name}, {stage} rate", sums["tokens"] / sums[stage])

    def _ours(self, name: str, corpus: Path | str, *options: str, **how: Any) -> Run:  # noqa: ANN401  of precompute
        limit = ("--max-length", str(self.given.max_length))
        return precompute(corpus, self.extractors[name], self.scratch, *limit, *options, **how)

    def _peer(self, python: str, kind: str) -> float:
        with tempfile.TemporaryDirectory(dir=self.scratch) as out:
            arguments = ["--model", self.model, "--kind", kind, "--out", out, "--threads", str(self.cores)]
            arguments += ["--max-length", str(self.given.max_length)]
            if kind == "optimum":
                arguments += ["--graph", str(self.graph)]
            answer = child([python, str(ROOT / "bench/peers/loop.py"), str(self.peer_texts), *arguments])
        self._note(f"{kind}, padding", 1 - answer["tokens"] / answer["computed_tokens"])
        return float(answer["tokens"] / answer["seconds"])

    def _note(self, figure: str, value: float) -> None:
        self.figures[figure].append(value)
        _tell(f"  {figure}: {value:,.4g}")

    def _write(self, name: str, texts: list[str]) -> Path:
        return samples.write(self.scratch / f"{name}.parquet", texts)

    def _extractor(self, layers: str) -> Path:
        folder: Path = self.given.work / f"layers-{layers}"
        if not (folder / "extractor.json").exists():
            arguments = [self.model, str(folder), "--layers", layers, "--json"]
            child([sys.executable, "-m", "amix", "export", *arguments])
        return folder

    def _optimum_graph(self) -> Path:
        work: Path = self.given.work
        graph = work / "optimum"
        if not (graph / "config.json").exists():
            script = str(ROOT / "bench/peers/loop.py")
            child(
                [self.given.optimum_python, script, "--prepare", "--model", self.model, "--graph", str(graph)]
            )
        return graph


def _layers(extractor: Path) -> list[int]:
    return sorted({layer for layer, _ in json.loads((extractor / "extractor.json").read_text())["heads"]})


def _tell(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201  progress


def main() -> None:
    """Measure in turn, print the tables, write the list."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus")
    parser.add_argument("--model", required=True)
    parser.add_argument("--samples", type=int, default=128, help="how many texts the peers get")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--optimum-python", help="interpreter of an environment with optimum-onnx")
    parser.add_argument("--measures", default=",".join(MEASURES), type=lambda text: text.split(","))
    parser.add_argument("--long", metavar="CORPORA", help="measure growth and scaling over this corpus too")
    parser.add_argument("--long-repeats", type=int, default=1)
    parser.add_argument("--work", type=Path, help="where extractors are kept")
    parser.add_argument("--json", type=Path, dest="out")
    given = parser.parse_args()
    if unknown := set(given.measures) - {*MEASURES, ""}:
        parser.error(f"--measures: {', '.join(sorted(unknown))} unknown; there are {', '.join(MEASURES)}")
    units = given.samples * FOR_ONE // int(SHARD[1])
    if units < len(os.sched_getaffinity(0)):
        _tell(f"--samples {given.samples}: too few to keep every core busy; try the bench, quote nothing.")
    if given.optimum_python is None:
        _tell("No --optimum-python: Optimum's loop is left out.")

    with tempfile.TemporaryDirectory(prefix="amix-bench-") as scratch:
        given.work = given.work or Path(scratch) / "work"
        given.work.mkdir(parents=True, exist_ok=True)
        bench = Bench(given, Path(scratch))
        in_turn(given.repeats, bench.turn)
        for _ in range(given.long_repeats if given.long else 0):
            bench.long()
    lines, results = report(bench.figures)
    finish(lines, results, given.out)


if __name__ == "__main__":
    main()
