"""All that amix is compared with others in, in one run: export, precompute, loading, training.

    python bench/suite.py WORK [--quick] [--short CORPUS --long CORPUS] [--model MODEL] [--out FILE]
                          [--optimum-python VENV/bin/python] [--peers-python VENV/bin/python]

`make bench` calls it with the peers' environments. WORK keeps what the loaders read, for the next run. FILE is
what `python -m pages.benchmarks` makes docs/benchmarks.md and its plots of.

--short and --long are corpora with labels, one of sentences, one of reviews; without them texts of the lengths of MR
and IMDB are made up. --quick is for trying it out: one turn over little data, of which nothing should be quoted.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from measuring import madetexts
from measuring.command import ROOT, child, environment

from amix.cli.fit import installed_encoder

PACKAGES = ("torch", "transformers", "onnxruntime", "tokenizers", "numpy", "webdataset")
PACKAGED = "all-MiniLM-L6-v2, 6 layers of 12 heads, 384 wide"
PEERS = {
    "optimum_python": ("optimum-onnx", "transformers"),
    "peers_python": ("mosaicml-streaming", "litdata"),
}


class Suite:
    """Runs one bench after the other, each in a process of its own, and keeps what they found."""

    def __init__(self, given: argparse.Namespace) -> None:
        """Make or take the texts, and what training reads."""
        self.given, self.work = given, given.work
        self.parts: list[dict[str, Any]] = []
        # Of an earlier run: by other code, or of other texts.
        for made in ("precompute", "layer-0", "short-shards", "long-shards"):
            shutil.rmtree(self.work / made, ignore_errors=True)
        self.model: str = given.model
        self.texts = {
            "short": given.short or str(madetexts.write(self.work / "short.jsonl", "short", 4_000)),
            "long": given.long or str(madetexts.write(self.work / "long.jsonl", "long", 10_000)),
        }

    def run(self) -> None:
        """Measure everything."""
        quick = self.given.quick
        turns = ["--repeats", "1" if quick else "3"]
        optimum = ["--optimum-python", self.given.optimum_python] if self.given.optimum_python else []
        peers = ["--peers-python", self.given.peers_python] if self.given.peers_python else []
        model = ["--model", self.model]
        self._bench("Export", "exporting.py", *model, *turns, *optimum)
        sizes = ["--samples", "16", "--measures", "speed"] if quick else ["--samples", "64"]
        work = ["--work", str(self.work / "precompute")]
        self._bench(
            "Precompute", "precompute.py", self.texts["long"], *model, *turns, *optimum, *sizes, *work
        )
        sizes = ["--samples", "500", "--million", "0"] if quick else []
        work = ["--work", str(self.work / "loader")]
        self._bench("Loading", "loader.py", *turns, *peers, *sizes, *work)
        for kind, texts, batch in (("short", 1024, 32), ("long", 48, 4)):
            if quick and kind == "long":
                continue
            sizes = ["--texts", str(texts // 8 if quick else texts), "--batch-size", str(batch)]
            called = ["--called", f"{kind} texts"]
            self._bench(
                f"Training, {kind} texts", "training.py", self._shards(kind), *model, *turns, *sizes, *called
            )
        variants = "wordmixup;attentionmix;attentionmix, online, whole pass"
        sizes = ["--steps", "3" if quick else "20", "--variants", variants]
        self._bench("A training step", "step_cost.py", self._shards("short"), *model, *sizes)

    def _bench(self, name: str, script: str, *arguments: str) -> None:
        _tell(f"{name}: bench/{script} {' '.join(arguments)}")
        part = self.work / "part.json"
        began = time.perf_counter()
        command = [sys.executable, str(ROOT / "bench" / script), *arguments, "--json", str(part)]
        subprocess.run(command, check=True, env=environment(), stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        measures = [each for each in json.loads(part.read_text()) if each["value"] is not None]
        self.parts.append({"name": name, "seconds": round(seconds), "measures": measures})
        self.given.out.write_text(json.dumps(self._document(), indent=1) + "\n")

    def _document(self) -> dict[str, Any]:
        versions = {name: importlib.metadata.version(name) for name in PACKAGES}
        for option, names in PEERS.items():
            if python := getattr(self.given, option):
                versions |= {f"{name} ({option.partition('_')[0]})": _version(python, name) for name in names}
        return {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "quick": self.given.quick,
            "texts": self.given.named if self.given.short else "made up, of the lengths of MR and IMDB",
            "model": PACKAGED if self.model == installed_encoder() else Path(self.model).name,
            "machine": _machine(),
            "versions": {"Python": platform.python_version(), **versions},
            "parts": self.parts,
        }

    def _shards(self, kind: str) -> str:
        """Return the cache of texts with the relevance of layer 0, which is made once."""
        extractor, out = self.work / "layer-0", self.work / f"{kind}-shards"
        if not (extractor / "extractor.json").exists():
            _amix("export", self.model, str(extractor), "--layers", "0")
        if not (out / "manifest.json").exists():
            limit = ["--limit", "4000" if kind == "short" else "500"]
            _amix("precompute", self.texts[kind], str(out), "--extractor", str(extractor), *limit)
        return str(out)


def _amix(*arguments: str) -> None:
    child([sys.executable, "-m", "amix", *arguments, "--json"])


def _version(python: str, package: str) -> str:
    script = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout.strip()


def _machine() -> dict[str, str | int]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"processor": name, "cores": len(os.sched_getaffinity(0)), "memory, GB": round(memory / 1e9)}


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201  progress


def main() -> None:
    """Measure, and write the document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--short", metavar="CORPUS")
    parser.add_argument("--long", metavar="CORPUS")
    parser.add_argument("--named", default="given by --short and --long", help="what the page calls them")
    parser.add_argument(
        "--model", default=installed_encoder(), help="an encoder; without it the packaged MiniLM"
    )
    parser.add_argument("--optimum-python", help="interpreter of an environment with optimum-onnx")
    parser.add_argument("--peers-python", help="interpreter with mosaicml-streaming and litdata")
    parser.add_argument("--out", type=Path, default=ROOT / "build/benchmarks.json")
    given = parser.parse_args()
    if bool(given.short) != bool(given.long):
        parser.error("--short and --long go together")
    if given.model is None:
        parser.error("--model: name an encoder, or install the extra [demo], which brings one")
    given.work.mkdir(parents=True, exist_ok=True)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    Suite(given).run()
    _tell(f"Written: {given.out}")


if __name__ == "__main__":
    main()
