"""Running an extractor's ONNX graph in ONNX Runtime, on the CPU or on one GPU.

Axes: B batch, H heads, T tokens.
"""

import contextlib
import mmap
import re
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from amix.engine.base.errors import DependencyError, ExtractorError
from amix.engine.base.machine import available_cores
from amix.engine.extractor.folder import GRAPHS, Extractor
from amix.engine.extractor.runner import Ids, Relevance, Runner, no_gpu

if TYPE_CHECKING:
    import onnxruntime

_EXTERNAL = re.compile(rb"\x0a\x08location\x12([\x00-\x7f])")  # key and value of an ONNX external_data entry

# float32 stays float32: TF32 would round the factors of every product to 10 bits. The arena grows by what is asked
# for, as batches of many shapes would otherwise double it again and again.
_CUDA_OPTIONS = {"use_tf32": "0", "arena_extend_strategy": "kSameAsRequested"}


def open_onnx(extractor: Extractor, cuda: int | None, threads: int | None) -> Runner:
    """Return what runs `model.onnx` of `extractor`.

    cuda: number of the GPU, None for the CPU.  threads: within one operation, None for all cores.
    Raises DeviceError when the GPU is not available, DependencyError without onnxruntime, ExtractorError for a graph
    that it cannot open.
    """
    try:
        import onnxruntime as ort
    except ImportError as problem:
        raise DependencyError(
            f"running an ONNX extractor needs onnxruntime, which cannot be imported ({problem}). "
            "Install it with: pip install 'attentionmix[cpu]' (or [gpu], never both)."
        ) from None
    path = extractor.folder / GRAPHS["onnxruntime"]
    _check_external_data(path, extractor)
    providers: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
    if cuda is not None:
        if "CUDAExecutionProvider" not in ort.get_available_providers():
            raise no_gpu(
                cuda,
                "the installed onnxruntime is built without CUDA",
                "Replace it: pip uninstall onnxruntime, then pip install 'attentionmix[gpu]'.",
            )
        with contextlib.redirect_stdout(
            sys.stderr
        ):  # it prints what it does not find, and stdout is for results
            ort.preload_dlls()
        providers = [("CUDAExecutionProvider", {"device_id": str(cuda), **_CUDA_OPTIONS})]
    try:
        # Its own fallback to the CPU, on opening and on every run, prints a line and raises nothing.
        session = ort.InferenceSession(path, session_options(threads), providers, enable_fallback=False)
    except Exception as problem:  # its exceptions share no base class
        if cuda is not None:
            raise no_gpu(
                cuda, f"onnxruntime cannot start there ({problem})", "Check the driver with nvidia-smi."
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
            "Check the driver with nvidia-smi, and that CUDA and cuDNN fit onnxruntime-gpu.",
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
    def run(inputs: Mapping[str, Ids]) -> Relevance:
        (relevance_BHT,) = session.run(["relevance"], dict(inputs))
        return np.asarray(relevance_BHT, dtype=np.float32)

    return run


class BoundRunner:
    """Runs a session whose output is bound to one buffer on the device, as large as the largest batch so far.

    So a run allocates no output on the device, and copies the output to the host once.
    """

    def __init__(
        self, session: "onnxruntime.InferenceSession", heads: int, device: str, index: int = 0
    ) -> None:
        """Take a session and the device that it runs on: `cuda` and its number, or `cpu`."""
        self._session = session
        self._heads = heads
        self._device = device
        self._index = index
        self._binding = session.io_binding()
        self._buffer: onnxruntime.OrtValue | None = None
        self._lock = threading.Lock()  # one buffer, one run at a time

    def __call__(self, inputs: Mapping[str, Ids]) -> Relevance:
        """Return relevance (B, H, T) of (B, T) inputs, as an array that no later run writes to."""
        batch, tokens = inputs["input_ids"].shape
        shape = (batch, self._heads, tokens)
        with self._lock:
            for name, ids_BT in inputs.items():
                self._binding.bind_cpu_input(name, np.ascontiguousarray(ids_BT))
            self._binding.bind_output(
                "relevance",
                self._device,
                self._index,
                np.float32,
                shape,
                self._room(batch * self._heads * tokens),
            )
            self._session.run_with_iobinding(self._binding)
            (relevance_BHT,) = self._binding.copy_outputs_to_cpu()
        return np.asarray(relevance_BHT, dtype=np.float32)

    def _room(self, count: int) -> int:
        """Return the address of a buffer for `count` numbers."""
        if self._buffer is None or self._buffer.shape()[0] < count:
            import onnxruntime as ort

            self._binding.clear_binding_outputs()  # they point into the buffer that is replaced
            self._buffer = ort.OrtValue.ortvalue_from_shape_and_type(
                [count], np.float32, self._device, self._index
            )
        return int(self._buffer.data_ptr())


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
