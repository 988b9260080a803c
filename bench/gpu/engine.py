"""How fast relevance is computed on the card, beside what people run without amix, and what a training step costs.

Everything is timed on the same batches: texts of IMDB, cut at 512 tokens, sorted by length, so that the peers have the
best of amix's batching too. Rates are in tokens of the texts, padding not counted.

Axes: B batch, H heads, T tokens.
"""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from measuring import ceiling, samples
from measuring.speedtable import ALL, FIRST, PAIR

from amix.engine.base.padding import padded, token_mask
from amix.engine.extractor.folder import Backend
from amix.engine.extractor.session import open_session
from amix.loaders.corpus import Row
from amix.loaders.precompute.batching import length_batches
from amix.loaders.precompute.tokenize import TextEncoder
from gpu import contenders, rates
from gpu.budget import Budget
from gpu.caches import Cache, Maker
from gpu.card import Card, facts
from gpu.contenders import Ids, Run
from gpu.extractors import LAYERS, WEIGHTS, Exports, Variant, sizes, variants, write_bert
from gpu.goals import session
from gpu.journal import read
from gpu.places import Places
from gpu.scale import Scale
from gpu.shards import text_to_shards
from gpu.steps import training_steps
from gpu.summary import goal_table

MINILM, BERT = WEIGHTS
BACKENDS: tuple[Backend, ...] = ("onnxruntime", "triton")
IMDB = "imdb/test-00000-of-00001.parquet"
STEP_TEXTS = Cache(name="steps/train", source="sst2/train.jsonl")


class Engine:
    """Everything that is measured, in the order of its importance."""

    def __init__(self, places: Places, scale: Scale, budget: Budget) -> None:
        self.places, self.scale, self.budget = places, scale, budget
        self.journal = budget.journal
        self.card = Card(scale.device)
        self.models = {MINILM: places.gpu / "minilm", BERT: places.work / BERT}
        self.rates: dict[str, float] = {}
        self.runs: dict[str, dict[str, Run]] = defaultdict(dict)  # by encoder, and by the figure's name
        self.lengths: list[int] = []
        self.batches: list[tuple[Ids, Ids]] = []
        self.exported: dict[Variant, Path] = {}
        self.variants: dict[str, Variant] = {}  # of the sessions, by the figure's name
        self.backends: dict[str, Backend] = {}  # the same

    def measure(self) -> None:
        """Measure as much as fits."""
        for name, value in facts(self.scale.device).items():
            self.journal.fact(name, value)
        for encoder, weights in WEIGHTS.items():
            self.journal.fact(f"weights of {encoder}", weights)
        with Exports(self.places, self.scale) as exports:
            for variant in variants(self.scale):
                if variant.encoder == MINILM:
                    exports.begin(variant, self.models[MINILM])
            if not self.budget.piece("texts", self._read_texts, needs=15.0):
                return
            self.budget.piece("rates of the card", self._measure_rates, needs=25.0)
            self.budget.piece(f"weights of {BERT}", partial(self._begin_bert, exports), needs=15.0)
            self._load(MINILM, exports)
            self.budget.piece(f"{MINILM}, parity", partial(self._parity, MINILM), needs=25.0)
            self._turn(MINILM, 0)
            self.budget.piece(f"{MINILM}, copies", partial(self._copies, MINILM), needs=5.0)
            self._shards(MINILM, (ALL, PAIR, FIRST), turn=0)
            self.budget.piece("training steps", self._steps, needs=50.0)
            self._load(BERT, exports)
            self._turn(BERT, 0)
            self._shards(BERT, (ALL,), turn=0)
            for encoder in WEIGHTS if self.scale.whole else [MINILM]:
                self._compile(encoder)
            for turn in range(1, self.scale.turns):
                for encoder in WEIGHTS:
                    self._turn(encoder, turn)
                self._shards(MINILM, (ALL,), turn=turn)
            if self.scale.whole:
                self.budget.piece(f"{BERT}, parity", partial(self._parity, BERT), needs=40.0)
            self._several_workers()

    def _read_texts(self) -> None:
        texts = samples.draw(samples.read(str(self.places.data / IMDB)), self.scale.texts, seed=0)
        encoder = TextEncoder(self.models[MINILM] / "tokenizer.json", self.scale.max_length)
        encoded = encoder.encode([Row(number=number, text=text) for number, text in enumerate(texts)])
        ids = [np.asarray(text.ids, np.int64) for text in encoded]
        self.lengths = [len(each) for each in ids]

        def batched(positions: Sequence[int]) -> tuple[Ids, Ids]:
            mask_BT = token_mask(np.array([self.lengths[position] for position in positions]))
            ids_BT = padded(np.concatenate([ids[position] for position in positions]), mask_BT)
            return ids_BT.astype(np.int64), mask_BT.astype(np.int64)

        limits = {"max_tokens": self.scale.budget, "max_scores": self.scale.scores}
        self.batches = [batched(each) for each in length_batches(self.lengths, **limits)]
        self.journal.fact("texts", f"{len(texts)} of IMDB's test set, at most {self.scale.max_length} tokens")
        self.journal.figure("texts, tokens", sum(self.lengths), "tokens")
        computed = sum(ids_BT.size for ids_BT, _ in self.batches)
        self.journal.figure("texts, tokens with padding", computed, "tokens")
        self.journal.figure("texts, batches", len(self.batches), "batches")

    def _measure_rates(self) -> None:
        self.rates = rates.measure(self.card, self.scale, self.journal)

    def _begin_bert(self, exports: Exports) -> None:
        write_bert(self.models[BERT], self.models[MINILM], self.scale.bert)
        for variant in variants(self.scale):
            if variant.encoder == BERT:
                exports.begin(variant, self.models[BERT])

    def _load(self, encoder: str, exports: Exports) -> None:
        """Open all that is timed on an encoder, each warmed by one pass over all batches."""
        model = self.models[encoder]
        peers: dict[str, Callable[[], Run]] = {
            "eager bfloat16": lambda: contenders.eager(model, torch.bfloat16, self.card),
            "SDPA bfloat16, no maps": lambda: contenders.sdpa(model, torch.bfloat16, self.card),
            "eager float16": lambda: contenders.eager(model, torch.float16, self.card),
        }
        for name, peer in peers.items():
            self._open(encoder, f"{encoder}, {name}", peer, needs=10.0)
        for variant in variants(self.scale):
            if variant.encoder != encoder:
                continue
            waiting = partial(self._wait, exports, variant)
            if not self.budget.piece(f"extractor {variant.name}", waiting, needs=5.0):
                continue
            for backend in BACKENDS:
                figure = session(f"{encoder}, {variant.heads}", f"{backend} {variant.dtype}")
                self.variants[figure], self.backends[figure] = variant, backend
                start = partial(contenders.session, self.exported[variant], self.card, backend)
                self._open(encoder, figure, start, needs=10.0 if backend == "onnxruntime" else 25.0)

    def _wait(self, exports: Exports, variant: Variant) -> None:
        self.exported[variant] = exports.wait(variant, self.budget.left)

    def _compile(self, encoder: str) -> None:
        start = partial(contenders.compiled, self.models[encoder], torch.float16, self.card)
        self._open(encoder, f"{encoder}, compiled float16", start, needs=75.0)

    def _open(self, encoder: str, figure: str, start: Callable[[], Run], needs: float) -> None:
        def open_and_warm() -> None:
            run = start()
            self._pass(run)
            self.runs[encoder][figure] = run

        self.budget.piece(f"opening {figure}", open_and_warm, needs=needs)

    def _pass(self, run: Run) -> None:
        for ids_BT, mask_BT in self.batches:
            run(ids_BT, mask_BT)
        self.card.synchronize()

    def _turn(self, encoder: str, turn: int) -> None:
        """Time everything that is open once, each in a piece of its own: one may run out of memory."""
        for figure, run in self.runs[encoder].items():
            timing = partial(self._time, figure, run, turn)
            self.budget.piece(f"{figure}, turn {turn}", timing, like=figure, needs=5.0)

    def _time(self, figure: str, run: Run, turn: int) -> None:
        seconds = self.card.timed(lambda: self._pass(run), self.scale.least)
        self.journal.figure(figure, sum(self.lengths) / seconds, "tokens/s", turn)
        if (variant := self.variants.get(figure)) is not None and self.rates:
            share = self._operations(variant) / seconds / self.rates[variant.dtype]
            self.journal.figure(f"{figure}, share of the rate of products", share, "share", turn)

    def _operations(self, variant: Variant) -> float:
        """Return the operations in products that the variant's relevance needs, without padding."""
        model = self.models[variant.encoder]
        depth = json.loads((model / "config.json").read_text())["num_hidden_layers"]
        layers = LAYERS[variant.heads] or range(depth)
        needed = ceiling.operations(self.lengths, layers, **sizes(model))
        return sum(needed[kind] for kind in ceiling.PRODUCTS)

    def _parity(self, encoder: str) -> None:
        """Compare every session of all heads with that of the float32 graph on the CPU."""
        folders = {
            variant.dtype: folder
            for variant, folder in self.exported.items()
            if variant.encoder == encoder and variant.heads == ALL
        }
        reference = open_session(folders["float32"], device="cpu")
        batches = self._varied_batches()
        expected = [reference.run(*batch) for batch in batches]
        norm = math.sqrt(sum(float(np.square(each, dtype=np.float64).sum()) for each in expected))
        for figure, run in self.runs[encoder].items():
            variant = self.variants.get(figure)
            if variant is None or variant.heads != ALL:
                continue
            apart = [
                np.asarray(run(*batch), np.float64) - each
                for batch, each in zip(batches, expected, strict=True)
            ]
            squares = sum(float(np.square(each).sum()) for each in apart)
            name = f"{encoder}, parity, {self.backends[figure]} {variant.dtype}"
            self.journal.figure(f"{name}, relative L2", math.sqrt(squares) / norm, "share")
            largest = max(float(np.abs(each).max()) for each in apart)
            self.journal.figure(f"{name}, largest difference", largest, "attention")

    def _varied_batches(self) -> list[tuple[Ids, Ids]]:
        """Return a few batches from the shortest to the longest, each of neighbours and so with some padding."""
        each = max(1, self.scale.parity_texts // 4)
        places = np.linspace(0, len(self.batches) - 1, 4).astype(int)
        return [
            (ids_BT[-each:], mask_BT[-each:]) for ids_BT, mask_BT in map(self.batches.__getitem__, places)
        ]

    def _copies(self, encoder: str) -> None:
        """Time the copies alone, of ids to the card and of relevance of all heads back, as a session does them."""
        config = json.loads((self.models[encoder] / "config.json").read_text())
        heads = config["num_hidden_layers"] * config["num_attention_heads"]
        largest = max(ids_BT.size for ids_BT, _ in self.batches)
        relevance = torch.zeros(largest * heads, device=self.card.device)

        def copy(ids_BT: Ids, mask_BT: Ids) -> object:
            for array in (ids_BT, mask_BT):
                torch.from_numpy(array).to(self.card.device)
            return relevance[: ids_BT.size * heads].cpu()

        self._pass(copy)
        seconds = self.card.timed(lambda: self._pass(copy), self.scale.least)
        self.journal.figure(f"{encoder}, all heads, copies", sum(self.lengths) / seconds, "tokens/s")

    def _shards(self, encoder: str, heads: Sequence[str], turn: int) -> None:
        for variant in self.exported:
            if (variant.encoder, variant.dtype) != (encoder, "float16") or variant.heads not in heads:
                continue
            for backend in BACKENDS:
                if session(f"{encoder}, {variant.heads}", f"{backend} {variant.dtype}") in self.runs[encoder]:
                    self._text_to_shards(variant, backend, turn=turn)

    def _text_to_shards(self, variant: Variant, backend: Backend, *, workers: int = 1, turn: int = 0) -> None:
        name = f"{variant.encoder}, {variant.heads}, text to shards, {backend} {variant.dtype}"
        name += f", {workers} workers" if workers > 1 else ""

        def measured() -> None:
            text_to_shards(
                self.places.data / IMDB,
                self.exported[variant],
                self.places.work,
                self.scale,
                self.journal,
                name=name,
                backend=backend,
                seconds=self.budget.left,
                workers=workers,
                turn=turn,
            )

        self.budget.piece(f"{name}, turn {turn}", measured, like=name, needs=30.0)

    def _several_workers(self) -> None:
        """Whether workers that share the card bring anything."""
        for variant in self.exported:
            if (variant.encoder, variant.heads, variant.dtype) == (MINILM, ALL, "float16"):
                for workers in self.scale.workers:
                    self._text_to_shards(variant, "onnxruntime", workers=workers)

    def _steps(self) -> None:
        maker = Maker(self.places, self.scale, MINILM)
        extractor = self.exported[Variant(encoder=MINILM, heads=ALL, dtype="float32")]
        limit = ("--limit", str(self.scale.step_texts))
        cache = maker.make(STEP_TEXTS, extractor, self.budget.left, *limit)
        model, seconds = self.models[MINILM], self.budget.left
        training_steps(cache, model, self.places.work, self.scale, self.journal, seconds)


def measure(places: Places, scale: Scale, budget: Budget, jobs: int) -> None:
    """Measure as much as fits, and say how the figures stand to the goals. jobs: not used here."""
    Engine(places, scale, budget).measure()
    print("\n".join(goal_table(read(budget.journal.path))))  # noqa: T201  a bench prints
