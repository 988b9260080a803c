"""Running an extractor's ONNX graph in ONNX Runtime, on the CPU or on one GPU.

Axes: B batch, H heads, T tokens.
"""

import contextlib
import mmap
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from amix.engine.base.errors import DependencyError, ExtractorError
from amix.engine.base.installing import install
from amix.engine.base.machine import available_cores
from amix.engine.extractor.devicememory import OUTPUT, DeviceMemory, Output, Uploaded, device_memory
from amix.engine.extractor.folder import GRAPHS, Extractor
from amix.engine.extractor.pipeline import StagedRunner
from amix.engine.extractor.runner import Inputs, Relevance, Runner, no_gpu

if TYPE_CHECKING:
    import onnxruntime

_EXTERNAL = re.compile(rb"\x0a\x08location\x12([\x00-\x7f])")  # key and value of an ONNX external_data entry

# float32 stays float32: TF32 would round the factors of every product to 10 bits. The arena grows by what is asked
# for, as batches of many shapes would otherwise double it again and again. Encoders have no convolutions, or few: an
# exhaustive search for the fastest one would be repeated for every new shape.
_CUDA_OPTIONS = {
    "use_tf32": "0",
    "arena_extend_strategy": "kSameAsRequested",
    "cudnn_conv_algo_search": "HEURISTIC",
}


def open_onnx(extractor: Extractor, cuda: int | None, threads: int | None) -> Runner:
    """Return what runs `model.onnx` of `extractor`.

    cuda: number of the GPU, None for the CPU.  threads: within one operation, None for all cores.
    Raises DeviceError when the GPU is not available or cannot run the graph, DependencyError without onnxruntime,
    ExtractorError for a graph that it cannot open.
    """
    if cuda is not None:
        # ONNX Runtime has no int8 kernels there, and takes the CPU's for nearly every node.
        if extractor.dtype == "int8":
            raise no_gpu(
                cuda,
                f"{extractor.folder} is an int8 extractor, which runs on the CPU only",
                "Export one with --dtype float16.",
            )
        # Before onnxruntime looks for them: the CUDA libraries that PyTorch brings are then loaded, and found.
        with contextlib.suppress(ImportError, OSError):
            import torch  # noqa: F401  loading it is all that is wanted
    try:
        import onnxruntime as ort
    except ImportError as problem:
        raise DependencyError(
            f"running an ONNX extractor needs onnxruntime, which cannot be imported ({problem}). "
            f"Install it with: {install('cpu', 'gpu')}."
        ) from None
    path = extractor.folder / GRAPHS["onnxruntime"]
    _check_external_data(path, extractor)
    providers: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
    if cuda is not None:
        if "CUDAExecutionProvider" not in ort.get_available_providers():
            raise no_gpu(
                cuda,
                "the installed onnxruntime is built without CUDA",
                f"Replace it: pip uninstall onnxruntime, then {install('gpu')}.",
            )
        # It prints what it does not find, and stdout is for results.
        with contextlib.redirect_stdout(sys.stderr):
            ort.preload_dlls()
        providers = [("CUDAExecutionProvider", {"device_id": str(cuda), **_CUDA_OPTIONS})]
    try:
        # What little of a graph a GPU leaves to the CPU needs no threads, which the tokenizer is glad of.
        options = session_options(threads if cuda is None else 1)
        # Its own fallback to the CPU, on opening and on every run, prints a line and raises nothing.
        session = ort.InferenceSession(path, options, providers, enable_fallback=False)
    except Exception as problem:  # its exceptions share no base class
        if cuda is not None:
            raise no_gpu(
                cuda, f"onnxruntime cannot start there ({problem})", "'amix doctor' says what is missing."
            ) from None
        raise ExtractorError(
            f"{path}: onnxruntime {ort.__version__} cannot open it ({problem}). Export it again."
        ) from None
    if cuda is None:
        return _unbound(session)
    active = session.get_providers()[0]
    if active != "CUDAExecutionProvider":  # a provider that does not load is left out with a log line
        raise no_gpu(
            cuda,
            f"onnxruntime fell back to {active}",
            "'amix doctor' says which library or package is missing.",
        )
    return BoundRunner(session, len(extractor.heads), "cuda", cuda)


def session_options(threads: int | None) -> "onnxruntime.SessionOptions":
    """Return the options of every ONNX Runtime session of ours. threads: within one operation, None for all cores."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3  # amix checks itself what it would warn about
    options.inter_op_num_threads = 1
    # Measured on batches of mixed lengths up to 512: a memory plan for every new shape costs a third more memory and
    # gains no speed. The arena stays on, and is not shrunk between runs: otherwise each run pages in its attention
    # maps anew. Its memory stops growing after the largest batch.
    options.enable_mem_pattern = False
    if threads is not None:
        options.intra_op_num_threads = threads
        if threads < available_cores():  # a waiting thread would keep a core busy that others need
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _unbound(session: "onnxruntime.InferenceSession") -> Runner:
    def run(inputs: Inputs) -> Relevance:
        (relevance_BHT,) = session.run([OUTPUT], dict(inputs))
        return np.asarray(relevance_BHT, dtype=np.float32)

    return run


class BoundRunner(StagedRunner[tuple[int, int, Uploaded], Output]):
    """Runs a session whose inputs and output are bound to memory on its device."""

    def __init__(
        self,
        session: "onnxruntime.InferenceSession",
        heads: int,
        device: str,
        index: int = 0,
        memory: DeviceMemory | None = None,
    ) -> None:
        """Take a session and the device that it runs on: `cuda` and its number, or `cpu`."""
        super().__init__(index)
        self._session = session
        self._heads = heads
        self._memory = memory or device_memory(device, index)

    def _upload(self, inputs: Inputs) -> tuple[int, int, Uploaded]:
        count, tokens = inputs["input_ids"].shape
        return count, tokens, self._memory.upload(inputs)

    def _run(self, ready: tuple[int, int, Uploaded]) -> Output:
        count, tokens, uploaded = ready
        # One for each run, so that runs have nothing in common; making it takes microseconds.
        binding = self._session.io_binding()
        uploaded.bind(binding)
        output = self._memory.output((count, self._heads, tokens))
        output.bind(binding)
        self._session.run_with_iobinding(binding)  # returns when the device has done it
        output.send()
        return output

    def _fetch(self, done: Output) -> Relevance:
        return done.fetch()


def _check_external_data(path: Path, extractor: Extractor) -> None:
    """Refuse a graph that reads weights from files which the record does not list.

    onnxruntime refuses paths that leave the folder, but only in recent versions.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for entry in _EXTERNAL.finditer(data):
            name = data[entry.end() : entry.end() + entry[1][0]].decode(errors="replace")
            if name not in extractor.files:
                raise ExtractorError(
                    f"{path}: reads weights from '{name}', which is not part of the extractor. Export it again."
                )
