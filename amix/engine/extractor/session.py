"""Running an extractor: one small interface over ONNX Runtime, TorchScript, torch.export, eager PyTorch and Triton.

A session belongs to the process that opened it: open it after a fork or spawn, never before.

Axes: B batch, H heads, T tokens.
"""

import sys
import time
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import numpy as np

from amix.engine.base.devices import cuda_index, parse_device
from amix.engine.base.errors import ExtractorError, UsageError
from amix.engine.extractor.folder import FROM_WEIGHTS, Backend, Extractor, open_extractor
from amix.engine.extractor.runner import Answer, Batch, Ids, Inputs, Pipeline, Relevance, Runner, Tag

if TYPE_CHECKING:
    from torch import Tensor


class Session:
    """An open extractor: `run` turns token ids into relevance, `stream` those of many batches."""

    def __init__(
        self,
        extractor: Extractor,
        backend: Backend,
        device: str,
        runner: Runner,
        threads: int | None = None,
    ) -> None:
        """Take what `open_session` prepared."""
        self.extractor = extractor
        self.backend: Backend = backend
        self.device = device
        self._runner = runner
        # A session of one thread is measured by that thread's clock; of several, by that of the whole process, in
        # which its other threads are counted too.
        self._cpu_clock = time.thread_time if threads == 1 else time.process_time

    def run(
        self,
        input_ids: "Ids | Tensor",
        attention_mask: "Ids | Tensor",
        token_type_ids: "Ids | Tensor | None" = None,
    ) -> Relevance:
        """Return relevance (B, H, T), float32, heads as in `extractor.heads`; exactly 0 at padding.

        input_ids, attention_mask, token_type_ids: (B, T) int64, of NumPy or torch; mask 1 = real token.  Token types
        default to 0 where the encoder has them, and are ignored where it has none.
        The array belongs to the caller: no later run writes to it.
        Raises UsageError for shapes, dtypes, ids or lengths that the encoder cannot take.
        """
        types_BT = None if token_type_ids is None else _array("token_type_ids", token_type_ids)
        batch = Batch(_array("input_ids", input_ids), _array("attention_mask", attention_mask), types_BT)
        inputs = self._inputs(batch)
        texts, tokens = inputs["input_ids"].shape
        if not texts or not tokens:
            return np.zeros((texts, len(self.extractor.heads), tokens), np.float32)
        return self._runner(inputs)

    def stream(self, batches: Iterable[tuple[Tag, Batch | None]]) -> Generator[Answer[Tag], None, None]:
        """Yield an answer for each batch, in order: `run`, where the device allows it for several batches at once.

        batches: what to run, each with a tag that comes back with its answer. It may be taken from by another thread,
            a few batches ahead of the answers, each of at least one token. None runs nothing: what has only a tag is
            answered in its place.
        On the CPU this is a loop over `run`. An error in `batches` or in a run is raised after the answers of the
        batches before it.
        """
        if isinstance(self._runner, Pipeline):
            yield from self._runner.stream(
                (tag, None if batch is None else self._inputs(batch)) for tag, batch in batches
            )
            return
        for tag, batch in batches:
            if batch is None:
                yield Answer(tag, None)
                continue
            began, cpu_began = time.perf_counter(), self._cpu_clock()
            relevance_BHT = self.run(*batch)
            cpu_seconds = self._cpu_clock() - cpu_began
            yield Answer(tag, relevance_BHT, time.perf_counter() - began, cpu_seconds)

    def _inputs(self, batch: Batch) -> Inputs:
        """Return a batch as the graph takes it, checked."""
        ids_BT, mask_BT, types_BT = batch
        inputs = {"input_ids": ids_BT, "attention_mask": mask_BT}
        if "token_type_ids" in self.extractor.inputs:
            inputs["token_type_ids"] = np.zeros_like(ids_BT) if types_BT is None else types_BT
        self._check(inputs)
        return inputs

    def _check(self, inputs: Inputs) -> None:
        ids = inputs["input_ids"]
        for name, value in inputs.items():
            if value.ndim != 2 or value.shape != ids.shape:
                raise UsageError(
                    f"{name} has shape {value.shape}; all inputs must be (texts, tokens) and equal to "
                    f"input_ids, which has {ids.shape}."
                )
            if value.dtype != np.int64:
                raise UsageError(f"{name} is {value.dtype}; give int64.")
        limit, size = self.extractor.max_length, self.extractor.vocab_size
        if ids.shape[1] > limit:
            raise UsageError(
                f"input_ids has {ids.shape[1]} tokens, {self.extractor.model} takes at most {limit}. Truncate the text."
            )
        if ids.size and not (0 <= ids.min() and ids.max() < size):
            wrong = int(ids[(ids < 0) | (ids >= size)][0])
            raise UsageError(
                f"input_ids holds {wrong}, but the vocabulary has {size} ids. Use the extractor's own tokenizer.json."
            )


def _array(name: str, value: object) -> Ids:
    """Return ids as an array. Raises UsageError for what is neither an array nor a tensor."""
    if isinstance(value, np.ndarray):
        return value
    torch = sys.modules.get("torch")  # no tensor without it, and a worker of precompute never loads it
    if torch is not None and isinstance(value, torch.Tensor):
        return np.asarray(value.detach().cpu().numpy())
    raise UsageError(
        f"{name} is a {type(value).__name__}; give an array of NumPy or a tensor of torch, (texts, tokens) int64."
    )


def choose_backend(extractor: Extractor, backend: Backend | None) -> Backend:
    """Return the backend asked for, None = that of the best graph. Raises ExtractorError where it has no graph."""
    chosen: Backend = extractor.backends[0] if backend is None else backend
    if chosen not in (*FROM_WEIGHTS, *extractor.backends):
        raise ExtractorError(
            f"{extractor.folder}: has no graph for {chosen}, only for {', '.join(extractor.backends)}. "
            "Export again with another --format, or use one of these."
        )
    return chosen


def open_session(
    folder: Path | str, *, device: str = "cpu", threads: int | None = None, backend: Backend | None = None
) -> Session:
    """Open the extractor in `folder`.

    device: `cpu`, `cuda` or `cuda:N`.
    threads: within one operation, by default all cores. With fewer than this process may use, waiting threads sleep.
        The PyTorch backends set it for the whole process, at the first run.
    backend: by default the best graph that the folder holds.
    Raises DeviceError when the device is not available: nothing falls back to the CPU silently.
    """
    device = parse_device(device)
    if threads is not None and threads < 1:
        raise UsageError(f"threads is {threads}; give at least 1.")
    extractor = open_extractor(folder)
    chosen = choose_backend(extractor, backend)
    runner: Runner
    match chosen:
        case "onnxruntime":
            from amix.engine.extractor.onnxsession import open_onnx

            runner = open_onnx(extractor, cuda_index(device), threads)
        case "torchscript" | "pt2" | "eager" | "triton":
            from amix.engine.extractor.torchsession import open_torch

            runner = open_torch(extractor, chosen, cuda_index(device), threads)
        case _:
            assert_never(chosen)
    return Session(extractor, chosen, device, runner, threads)
