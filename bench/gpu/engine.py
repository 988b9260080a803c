"""How fast relevance is computed on the card, beside what people run without amix, and what a training step costs.

Everything is timed on the same batches: texts of IMDB, cut at 512 tokens, sorted by length, so that the peers have the
best of amix's batching too. Rates are in tokens of the texts, padding not counted.

Axes: B batch, H heads, T tokens.
"""

import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import torch
from measuring import ceiling
from measuring.speedtable import ALL, FIRST, PAIR

from amix.engine.extractor.devicememory import TorchMemory, TorchOutput
from amix.engine.extractor.folder import Backend
from gpu import contenders, parity, rates, texts
from gpu.budget import Budget
from gpu.caches import Cache, Maker
from gpu.card import Card, facts
from gpu.contenders import Contender
from gpu.extractors import (
    BERT,
    ENCODERS,
    LAYERS,
    MINILM,
    Exports,
    Variant,
    sizes,
    variants,
    weights,
    write_bert,
)
from gpu.goals import session
from gpu.journal import read
from gpu.places import Places
from gpu.scale import Scale
from gpu.shards import text_to_shards
from gpu.steps import training_steps
from gpu.summary import goal_table
from gpu.texts import Ids

BACKENDS: tuple[Backend, ...] = ("onnxruntime", "triton")
EXPORT_SECONDS = 150.0  # after which one is given up, and the others are timed
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
        self.opened: dict[str, dict[str, Contender]] = defaultdict(
            dict
        )  # by encoder, and by the figure's name
        self.texts = texts.Texts(lengths=[], batches=[])
        self.exported: dict[Variant, Path] = {}
        self.variants: dict[str, Variant] = {}  # of the sessions, by the figure's name
        self.backends: dict[str, Backend] = {}  # the same

    def measure(self) -> None:
        """Measure as much as fits."""
        for name, value in facts(self.scale.device).items():
            self.journal.fact(name, value)
        self.journal.fact(f"weights of {MINILM}", weights(self.models[MINILM], self.scale))
        with Exports(self.places, self.scale) as exports:
            for variant in variants(self.scale):
                if variant.encoder == MINILM:
                    exports.begin(variant, self.models[MINILM])
            if not self.budget.piece("texts", self._read_texts, needs=15.0):
                return
            self.budget.piece("rates of the card", self._measure_rates, needs=25.0)
            self.budget.piece(f"weights of {BERT}", partial(self._begin_bert, exports), needs=15.0)
            self.journal.fact(
                "first turns, shards and steps of MiniLM",
                "measured while extractors of BERT are exported on other cores",
            )
            early = min(3, self.scale.turns - 1)  # before what takes long
            self._load(MINILM, exports)
            self._turns([MINILM], range(early))
            self.budget.piece(f"{MINILM}, parity", partial(self._parity, MINILM), needs=25.0)
            self.budget.piece(f"{MINILM}, copies", partial(self._copies, MINILM), needs=5.0)
            self._shards(MINILM, (ALL,), turn=0)
            self.budget.piece("training steps", self._steps, needs=50.0)
            self._load(BERT, exports)
            self._turns([BERT], range(early))
            self._compile(MINILM)
            self._shards(MINILM, (PAIR, FIRST), turn=0)
            if self.scale.whole:
                self._shards(BERT, (ALL,), turn=0)
                self.budget.piece(f"{BERT}, parity", partial(self._parity, BERT), needs=40.0)
                self._compile(BERT)
            self._turns(ENCODERS, range(early, self.scale.turns))
            self._shards(MINILM, (ALL,), turn=1)
            self._several_workers()

    def _read_texts(self) -> None:
        tokenizer = self.models[MINILM] / "tokenizer.json"
        self.texts = texts.read(self.places.data / IMDB, tokenizer, self.scale, self.journal)

    def _measure_rates(self) -> None:
        self.rates = rates.measure(self.card, self.scale, self.journal)

    def _begin_bert(self, exports: Exports) -> None:
        write_bert(self.models[BERT], self.models[MINILM], self.scale.bert)
        self.journal.fact(f"weights of {BERT}", weights(self.models[BERT], self.scale))
        for variant in variants(self.scale):
            if variant.encoder == BERT:
                exports.begin(variant, self.models[BERT])

    def _load(self, encoder: str, exports: Exports) -> None:
        """Open all that is timed on an encoder, each warmed by one pass over all batches."""
        model = self.models[encoder]
        peers: dict[str, Callable[[], Contender]] = {
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
        self.exported[variant] = exports.wait(variant, min(self.budget.left, EXPORT_SECONDS))

    def _compile(self, encoder: str) -> None:
        start = partial(contenders.compiled, self.models[encoder], torch.float16, self.card)
        self._open(encoder, f"{encoder}, compiled float16", start, needs=75.0)

    def _open(self, encoder: str, figure: str, start: Callable[[], Contender], needs: float) -> None:
        def open_and_warm() -> None:
            contender = start()
            # The largest first, as in `amix precompute`: an arena that is asked for more and more keeps all it had.
            for batch in self.texts.largest:
                contender.run(*batch)
            self._pass(contender)
            self.opened[encoder][figure] = contender

        self.budget.piece(f"opening {figure}", open_and_warm, needs=needs)
        self.card.release()  # what runs next may not be PyTorch

    def _pass(self, contender: Contender) -> None:
        contender.run_all(self.texts.batches)
        self.card.synchronize()

    def _turns(self, encoders: Iterable[str], turns: Iterable[int]) -> None:
        for turn, encoder in itertools.product(turns, encoders):
            self._turn(encoder, turn)

    def _turn(self, encoder: str, turn: int) -> None:
        """Time everything that is open once, each in a piece of its own: one may run out of memory."""
        for figure, contender in self.opened[encoder].items():
            timing = partial(self._time, figure, contender, turn)
            self.budget.piece(f"{figure}, turn {turn}", timing, like=figure, needs=5.0)
            self.card.release()

    def _time(self, figure: str, contender: Contender, turn: int) -> None:
        seconds = self.card.timed(lambda: self._pass(contender), self.scale.least)
        self.journal.figure(figure, self.texts.tokens / seconds, "tokens/s", turn)
        if (variant := self.variants.get(figure)) is not None and self.rates:
            share = self._operations(variant) / seconds / self.rates[variant.dtype]
            self.journal.figure(f"{figure}, share of the rate of products", share, "share", turn)

    def _operations(self, variant: Variant) -> float:
        """Return the operations in products that the variant's relevance needs, without padding."""
        model = self.models[variant.encoder]
        depth = json.loads((model / "config.json").read_text())["num_hidden_layers"]
        layers = LAYERS[variant.heads] or range(depth)
        needed = ceiling.operations(self.texts.lengths, layers, **sizes(model))
        return sum(needed[kind] for kind in ceiling.PRODUCTS)

    def _parity(self, encoder: str) -> None:
        """Compare every session of all heads with that of the float32 graph on the CPU."""
        sessions = {
            f"{encoder}, parity, {self.backends[figure]} {variant.dtype}": self.opened[encoder][figure]
            for figure, variant in self.variants.items()
            if figure in self.opened[encoder] and variant.heads == ALL
        }
        reference = self.exported[Variant(encoder=encoder, heads=ALL, dtype="float32")]
        parity.measure(reference, sessions, self.texts.varied(self.scale.parity_texts), self.journal)

    def _copies(self, encoder: str) -> None:
        """Time the copies alone, of ids to the card and of relevance of all heads back, as a session does them."""
        config = json.loads((self.models[encoder] / "config.json").read_text())
        heads = config["num_hidden_layers"] * config["num_attention_heads"]
        largest = max(ids_BT.size for ids_BT, _ in self.texts.batches)
        relevance = torch.zeros(largest * heads, device=self.card.device)
        memory = TorchMemory(self.card.device.type, 0)

        def copy(ids_BT: Ids, mask_BT: Ids) -> object:
            memory.upload({"input_ids": ids_BT, "attention_mask": mask_BT}).tensors()
            batch, tokens = ids_BT.shape
            output = TorchOutput(memory, relevance[: ids_BT.size * heads].view(batch, heads, tokens))
            output.send()
            return output.fetch()

        copies = Contender.of(copy)
        self._pass(copies)
        seconds = self.card.timed(lambda: self._pass(copies), self.scale.least)
        self.journal.figure(f"{encoder}, all heads, copies", self.texts.tokens / seconds, "tokens/s")

    def _shards(self, encoder: str, heads: Sequence[str], turn: int) -> None:
        for variant in self.exported:
            if (variant.encoder, variant.dtype) != (encoder, "float16") or variant.heads not in heads:
                continue
            for backend in BACKENDS:
                if (
                    session(f"{encoder}, {variant.heads}", f"{backend} {variant.dtype}")
                    in self.opened[encoder]
                ):
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
