"""The encoders that are measured, and their extractors, exported on the machine by several processes at once."""

import json
import multiprocessing
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing.pool import AsyncResult, Pool
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from measuring import ceiling
from measuring.speedtable import ALL, FIRST, PAIR

from gpu.places import Places
from gpu.scale import Scale

Dtype = Literal["float32", "float16"]
LAYERS: dict[str, list[int] | None] = {ALL: None, PAIR: [0, 1], FIRST: [0]}
ENCODERS = MINILM, BERT = ("minilm", "bert-base")  # that are timed


def weights(model: Path, scale: Scale) -> str:
    """Return what an encoder's weights are, to stand beside its figures."""
    with (model / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    dtypes = sorted({entry["dtype"] for name, entry in header.items() if name != "__metadata__"})
    stored = f"stored as {', '.join(dtypes)}, loaded as float32"
    if model.name == BERT:
        return f"random, in the sizes of BERT-base: only its speed means something; {stored}"
    return stored if scale.whole else f"random and tiny; {stored}"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """An extractor: an encoder, what is exported of it, and in which dtype."""

    encoder: str
    heads: str
    dtype: Dtype

    @property
    def name(self) -> str:
        """As figures are named."""
        return f"{self.encoder}, {self.heads}, {self.dtype}"

    def folder(self, places: Places) -> Path:
        """Where it is exported to."""
        return places.work / "extractors" / self.name.replace(", ", "_").replace(" ", "-")


def variants(scale: Scale) -> Iterator[Variant]:
    """Yield the extractors that are measured, the most important first."""
    dtypes: tuple[Dtype, ...] = ("float16", "float32")
    for encoder in ENCODERS:
        for heads in LAYERS:
            for dtype in dtypes:
                if scale.whole or (encoder == MINILM and heads == ALL):
                    yield Variant(encoder=encoder, heads=heads, dtype=dtype)


def write_bert(folder: Path, tokenizer_of: Path, sizes: Mapping[str, Any]) -> Path:
    """Save a BERT with random weights and another encoder's tokenizer in `folder`, if it is not there."""
    if (folder / "model.safetensors").exists():
        return folder
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    config = json.loads((tokenizer_of / "config.json").read_text())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertModel(BertConfig(vocab_size=config["vocab_size"], **sizes), add_pooling_layer=False)
    AutoTokenizer.from_pretrained(tokenizer_of, trust_remote_code=False).save_pretrained(folder)
    model.save_pretrained(folder)  # last: with it the folder counts as whole
    return folder


def sizes(model: Path) -> dict[str, int]:
    """Return width, inner width and heads, as the ceiling's count of operations takes them."""
    return ceiling.sizes(json.loads((model / "config.json").read_text()))


class Exports:
    """Exports in the background; leaving the `with` block ends those that are not done."""

    def __init__(self, places: Places, scale: Scale) -> None:
        """Begin. With `scale.exporters` 0 this process does it when it is waited for, which saves the imports."""
        self._places = places
        self._pool: Pool | None = None
        if scale.exporters:
            context = multiprocessing.get_context("spawn")
            self._pool = context.Pool(scale.exporters, _begin_worker, [scale.exporters])
        self._asked: dict[Variant, AsyncResult[None] | Callable[[], None]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.terminate()

    def begin(self, variant: Variant, model: Path) -> None:
        """Ask for an extractor."""
        arguments = (str(model), variant.folder(self._places), LAYERS[variant.heads], variant.dtype)
        self._asked[variant] = (
            partial(export, *arguments) if self._pool is None else self._pool.apply_async(export, arguments)
        )

    def wait(self, variant: Variant, seconds: float) -> Path:
        """Return the folder of an extractor that was asked for.

        Raises what its export raised, and subprocess.TimeoutExpired after `seconds`.
        """
        asked = self._asked[variant]
        if isinstance(asked, AsyncResult):
            try:
                asked.get(timeout=seconds)
            except multiprocessing.TimeoutError:
                raise subprocess.TimeoutExpired(f"export of {variant.name}", seconds) from None
        else:
            asked()
        return variant.folder(self._places)


def _begin_worker(workers: int) -> None:
    # Before torch is imported, and onnxruntime, which takes all cores of the process.
    cores = sorted(os.sched_getaffinity(0))
    threads = max(1, len(cores) // workers)
    number = multiprocessing.current_process()._identity[0]
    os.sched_setaffinity(0, {cores[(number * threads + each) % len(cores)] for each in range(threads)})
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


def export(model: str, folder: Path, layers: list[int] | None, dtype: Dtype) -> None:
    """Export an encoder to `folder`, if that is not done. layers: None for all."""
    from amix.exporters import export as exporter
    from amix.exporters.options import ExportOptions

    if not (folder / "extractor.json").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        exporter.export(model, folder, ExportOptions(layers=layers, dtype=dtype, device="cuda"))
