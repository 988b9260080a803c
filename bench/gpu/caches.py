"""The caches that comparisons read: what each is made from, and how it is made on the machine.

A grid calls them `caches/NAME`; its encoder is `minilm` or `mpnet`. A new cache is a line here.
"""

import json
import random
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measuring.command import child
from measuring.speedtable import ALL
from measuring.thinning import thinned

from gpu.places import Places
from gpu.scale import Scale

FOLDER = "caches"
# As a grid calls them where it spells them out.
_PARTS = {"train": "train", "validation": "dev", "test": "eval"}


@dataclass(frozen=True, kw_only=True)
class Cache:
    """A cache of a part of a corpus.

    name: CORPUS/PART.  source: file below the corpora.  rows: of these only, from and to; None = to the end.
    shares: of each class named the share that is kept (`measuring.thinning`), of the others all.
    drawn: of a table, so many of its rows, drawn once.
    held_out: IMDB's training texts: True = only those listed for validation, False = only the others.
    workers: processes that share the card.
    """

    name: str
    source: str
    rows: tuple[int, int | None] = (0, None)
    shares: Mapping[str, float] = field(default_factory=dict)
    drawn: int | None = None
    held_out: bool | None = None
    max_length: int = 512
    labels: bool = True
    workers: int = 1


def _split(corpus: str) -> list[Cache]:
    parts = ("train", "validation", "test")
    return [Cache(name=f"{corpus}/{part}", source=f"{corpus}/{part}.jsonl") for part in parts]


_TREC = 5_152  # training questions; the last 300 of the official 5,452 are held out
_IMDB = "imdb/{}-00000-of-00001.parquet"

CACHES: tuple[Cache, ...] = (
    *_split("mr"),
    *_split("sst2"),
    Cache(name="trec/train", source="trec6/train.jsonl", rows=(0, _TREC)),
    Cache(name="trec/validation", source="trec6/train.jsonl", rows=(_TREC, None)),
    Cache(name="trec/test", source="trec6/test.jsonl"),
    # Other class frequencies than the training questions have: three classes rarer than they are, or the two others.
    Cache(name="trec/test-few-123", source="trec6/test.jsonl", shares={"1": 0.25, "2": 0.25, "3": 0.25}),
    Cache(name="trec/test-few-45", source="trec6/test.jsonl", shares={"4": 0.25, "5": 0.25}),
    Cache(name="mr/clean-dev", source="mr/validation.jsonl", rows=(0, 100)),
    Cache(name="trec/clean-dev", source="trec6/train.jsonl", rows=(_TREC, _TREC + 100)),
    # For students; some of the labelled texts of a run are among them.
    Cache(name="mr/unlabelled", source="mr/train.jsonl", rows=(0, 2_500), labels=False),
    Cache(name="trec/unlabelled", source="trec6/train.jsonl", rows=(0, 2_500), labels=False),
    Cache(name="imdb/train", source=_IMDB.format("train"), held_out=False, max_length=256, workers=4),
    # Short, for runs on CPUs.
    Cache(name="imdb-short/train", source=_IMDB.format("train"), held_out=False, max_length=128, workers=4),
    Cache(name="imdb-short/test", source=_IMDB.format("test"), drawn=1_000, max_length=128),
    Cache(name="imdb/validation", source=_IMDB.format("train"), held_out=True, max_length=256),
    Cache(name="imdb/test", source=_IMDB.format("test"), max_length=256, workers=4),
    Cache(
        name="imdb/unsupervised",
        source=_IMDB.format("unsupervised"),
        max_length=256,
        labels=False,
        workers=4,
    ),
)


def spelled_out(corpora: Mapping[str, Any], caches: Iterable[Cache] = CACHES) -> dict[str, Any]:
    """Return the `corpora` of a grid with the parts of those that are named by their folder alone."""
    names = {cache.name for cache in caches}
    found: dict[str, Any] = {}
    for corpus, value in corpora.items():
        if isinstance(value, str):
            own = value.strip("/").removeprefix(f"{FOLDER}/")
            value = {
                as_: f"{FOLDER}/{own}/{part}" for part, as_ in _PARTS.items() if f"{own}/{part}" in names
            }
            if "eval" in value:
                value["eval"] = {"test": value["eval"]}
        found[corpus] = value
    return found


def named(corpora: Mapping[str, Any]) -> list[Cache]:
    """Return the caches that spelled out `corpora` name. Raises ValueError for one that is not listed here."""
    known = {f"{FOLDER}/{cache.name}": cache for cache in CACHES}
    wanted: dict[str, None] = {}
    for corpus in corpora.values():
        evals = corpus.get("eval") or {}
        folders = [
            corpus["train"],
            corpus.get("dev"),
            *([evals] if isinstance(evals, str) else evals.values()),
        ]
        wanted |= dict.fromkeys(folder for folder in folders if folder)
    unknown = sorted(wanted.keys() - known.keys())
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: no such cache. List it in bench/gpu/caches.py.")
    return [known[folder] for folder in wanted]


class Maker:
    """Makes caches of one encoder and some of its heads; those that are there are left as they are.

    heads: as in `measuring.speedtable`. Layer 0 takes a small part of the time of all layers, and of the disk.
    """

    def __init__(self, places: Places, scale: Scale, encoder: str, heads: str = ALL) -> None:
        self.places, self._scale, self.heads = places, scale, heads
        self.root = places.work / encoder / heads.replace(" ", "-")  # where a grid's paths begin
        self.model = places.gpu / encoder

    def missing(self, wanted: Iterable[Cache]) -> list[Cache]:
        """Return those of `wanted` that are not complete."""
        return [each for each in wanted if not (self.root / FOLDER / each.name / "manifest.json").exists()]

    def make(self, cache: Cache, extractor: Path, seconds: float, *options: str) -> Path:
        """Run `amix precompute` for a cache. Raises subprocess.TimeoutExpired after `seconds`."""
        out = self.root / FOLDER / cache.name
        out.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "amix", "precompute", str(self._source(cache)), str(out), "--json"]
        command += ["--extractor", str(extractor), "--device", self._scale.device]
        command += ["--max-length", str(min(cache.max_length, self._scale.max_length))]
        if self._scale.device == "cuda":
            # Eager PyTorch runs every encoder, and needs no onnxruntime with CUDA, which is too large to bring along.
            command += ["--backend", "eager", "--workers", str(cache.workers)]
        command += [*options, *(() if cache.labels else ("--no-labels",))]
        child(command, timeout=seconds)
        return out

    def _source(self, cache: Cache) -> Path:
        source = self.places.data / cache.source
        if cache.held_out is None and cache.rows == (0, None) and not cache.shares and cache.drawn is None:
            return source
        part = self.places.work / "corpora" / f"{cache.name.replace('/', '-')}{source.suffix}"
        part.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".parquet":
            self._write_rows_of_table(cache, source, part)
        else:
            lines = source.read_text("utf-8").splitlines(keepends=True)
            part.write_text("".join(thinned(lines[slice(*cache.rows)], cache.shares)), "utf-8")
        return part

    def _write_rows_of_table(self, cache: Cache, source: Path, part: Path) -> None:
        import pyarrow.parquet as pq

        table = pq.read_table(source)
        kept = list(range(table.num_rows))
        if cache.held_out is not None:
            listed = set(json.loads((self.places.data / "imdb_validation_rows.json").read_text()))
            kept = [row for row in kept if (row in listed) == cache.held_out]
        if cache.drawn is not None:
            kept = sorted(random.Random(0).sample(kept, min(cache.drawn, len(kept))))
        pq.write_table(table.take(kept), part)
