"""Running an extractor: one small interface over ONNX Runtime, TorchScript, torch.export and eager PyTorch.

A session belongs to the process that opened it: open it after a fork or spawn, never before.

Axes: B batch, H heads, T tokens.
"""

import mmap
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, assert_never

import numpy as np
from numpy.typing import NDArray

from amix.engine.artifact import GRAPHS, Backend, Extractor, open_extractor
from amix.engine.errors import AmixError, ArtifactError, DependencyError, DeviceError, UsageError

if TYPE_CHECKING:
    import torch

_DEVICE = re.compile(r"cpu|cuda(?::(?P<index>\d{1,3}))?", re.ASCII)
_EXTERNAL = re.compile(rb"\x0a\x08location\x12([\x00-\x7f])")  # key and value of an ONNX external_data entry

Ids = NDArray[np.int64]


class _Runner(Protocol):
    def __call__(self, inputs: Mapping[str, Ids]) -> NDArray[np.float32]: ...


class Session:
    """An open extractor: `run` turns token ids into relevance."""

    def __init__(self, extractor: Extractor, backend: Backend, device: str, runner: _Runner) -> None:
        """Take what `open_session` prepared."""
        self.extractor = extractor
        self.backend: Backend = backend
        self.device = device
        self._runner = runner

    def run(
        self, input_ids: Ids, attention_mask: Ids, token_type_ids: Ids | None = None
    ) -> NDArray[np.float32]:
        """Return relevance (B, H, T), float32, heads as in `extractor.heads`; exactly 0 at padding.

        input_ids, attention_mask, token_type_ids: (B, T) int64; mask 1 = real token.  Token types default to
        0
        where the encoder has them, and are ignored where it has none.
        Raises UsageError for shapes, dtypes, ids or lengths that the encoder cannot take.
        """
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if "token_type_ids" in self.extractor.inputs:
            inputs["token_type_ids"] = np.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        self._check(inputs)
        if not input_ids.size:
            return np.zeros((input_ids.shape[0], len(self.extractor.heads), input_ids.shape[1]), np.float32)
        return self._runner(inputs)

    def _check(self, inputs: Mapping[str, Ids]) -> None:
        ids = inputs["input_ids"]
        for name, value in inputs.items():
            if value.ndim != 2 or value.shape != ids.shape:
                raise UsageError(
                    f"{name} has shape {value.shape}; all inputs must be (texts, tokens) and equal to "
                    f"input_ids, "
                    f"which has {ids.shape}."
                )
            if value.dtype != np.int64:
                raise UsageError(f"{name} is {value.dtype}; give int64.")
        limit, size = self.extractor.max_length, self.extractor.vocab_size
        if ids.shape[1] > limit:
            raise UsageError(
                f"input_ids has {ids.shape[1]} tokens, {self.extractor.model} takes at most {limit}. "
                f"Truncate the text."
            )
        if ids.size and not (0 <= ids.min() and ids.max() < size):
            wrong = int(ids[(ids < 0) | (ids >= size)][0])
            raise UsageError(
                f"input_ids holds {wrong}, but the vocabulary has {size} ids. Use the extractor's own "
                f"tokenizer.json."
            )


def open_session(
    folder: Path | str, *, device: str = "cpu", threads: int | None = None, backend: Backend | None = None
) -> Session:
    """Open the extractor in `folder` for running.

    device: `cpu`, `cuda` or `cuda:N`.  threads: within one operation (default: all cores; for the PyTorch
    backends it is the process's setting).  backend: default is the best graph that the folder holds.
    Raises DeviceError when the device cannot be had: there is no silent fall back to the CPU.
    """
    match = _DEVICE.fullmatch(device)
    if match is None:
        raise UsageError(f"device '{device}' is unknown. Use cpu, cuda or cuda:N.")
    if threads is not None and threads < 1:
        raise UsageError(f"threads is {threads}; give at least 1.")
    cuda = None if device == "cpu" else int(match["index"] or 0)
    extractor = open_extractor(folder)
    chosen: Backend = extractor.backends[0] if backend is None else backend
    if chosen != "eager" and chosen not in extractor.backends:
        raise ArtifactError(
            f"{extractor.folder}: has no graph for {chosen}, only for {', '.join(extractor.backends)}. "
            "Export again with another --format, or take one of these."
        )
    runner: _Runner
    match chosen:
        case "onnxruntime":
            runner = _onnxruntime(extractor, cuda, threads)
        case "torchscript" | "pt2" | "eager":
            runner = _torch(extractor, chosen, cuda, threads)
        case _:
            assert_never(chosen)
    return Session(extractor, chosen, device, runner)


def _no_gpu(cuda: int, why: str, remedy: str) -> DeviceError:
    return DeviceError(
        f"cuda:{cuda} was asked for, but {why}. {remedy} Or run on the processor with --device cpu."
    )


def _onnxruntime(extractor: Extractor, cuda: int | None, threads: int | None) -> _Runner:
    try:
        import onnxruntime as ort
    except ImportError as problem:
        raise DependencyError(
            f"running an ONNX extractor needs onnxruntime, which cannot be imported ({problem}). "
            "Install it with: pip install 'attentionmix[cpu]' (or [gpu], never both)."
        ) from None
    path = extractor.folder / GRAPHS["onnxruntime"]
    _check_external_data(path, extractor)

    options = ort.SessionOptions()
    options.log_severity_level = 3  # what it would warn about is checked here
    options.inter_op_num_threads = 1
    # A memory plan is kept for every new shape, which cost more than it gave on varied batches. The arena stays on:
    # without it attention maps are paged in anew on each run, which measured up to twice as slow.
    options.enable_mem_pattern = False
    if threads is not None:
        options.intra_op_num_threads = threads
        if threads < (os.cpu_count() or 1):  # other workers need the cores that waiting threads would burn
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers: list[Any] = ["CPUExecutionProvider"]
    if cuda is not None:
        if "CUDAExecutionProvider" not in ort.get_available_providers():
            raise _no_gpu(
                cuda,
                "the installed onnxruntime is built without CUDA",
                "Replace it: pip uninstall onnxruntime, then pip install 'attentionmix[gpu]'.",
            )
        ort.preload_dlls()
        providers = [("CUDAExecutionProvider", {"device_id": cuda})]
    try:
        session = ort.InferenceSession(path, sess_options=options, providers=providers)
    except Exception as problem:  # its exceptions share no base class
        if cuda is not None:
            raise _no_gpu(
                cuda, f"onnxruntime cannot start there ({problem})", "Check the driver with nvidia-smi."
            ) from None
        raise ArtifactError(
            f"{path}: onnxruntime {ort.__version__} cannot open it ({problem}). Export it again."
        ) from None
    active = session.get_providers()[0]
    if cuda is not None and active != "CUDAExecutionProvider":  # it falls back with no more than a log line
        raise _no_gpu(
            cuda,
            f"onnxruntime fell back to {active}",
            "Check the driver with nvidia-smi, and that CUDA and cuDNN fit onnxruntime-gpu.",
        )

    def run(inputs: Mapping[str, Ids]) -> NDArray[np.float32]:
        (relevance_BHT,) = session.run(["relevance"], dict(inputs))
        return np.asarray(relevance_BHT, dtype=np.float32)

    return run


def _check_external_data(path: Path, extractor: Extractor) -> None:
    """Refuse a graph that reads weights from files which the record does not list.

    onnxruntime refuses paths that leave the folder, but only in recent versions.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for entry in _EXTERNAL.finditer(data):
            name = data[entry.end() : entry.end() + entry[1][0]].decode(errors="replace")
            if name not in extractor.files:
                raise ArtifactError(
                    f"{path}: reads weights from '{name}', which is not part of the extractor. Export "
                    f"it again."
                )


def _torch(extractor: Extractor, backend: Backend, cuda: int | None, threads: int | None) -> _Runner:
    import torch

    if cuda is not None and cuda >= torch.cuda.device_count():
        raise _no_gpu(
            cuda,
            f"PyTorch sees {torch.cuda.device_count()} GPUs",
            "Check the driver and that PyTorch has CUDA.",
        )
    if threads is not None:
        torch.set_num_threads(threads)
    device = torch.device("cpu" if cuda is None else f"cuda:{cuda}")
    module = _torch_module(extractor, backend, device)
    if cuda is not None:
        try:  # graphs keep some devices of the machine that captured them, which only a run brings to light
            module(*(torch.zeros(1, 2, dtype=torch.int64, device=device) for _ in extractor.inputs))
        except RuntimeError as problem:
            raise _no_gpu(
                cuda, f"the {backend} graph does not run there ({problem})", "Use --format onnx."
            ) from None

    def run(inputs: Mapping[str, Ids]) -> NDArray[np.float32]:
        tensors = [
            torch.from_numpy(np.ascontiguousarray(inputs[name])).to(device) for name in extractor.inputs
        ]
        with torch.inference_mode():
            relevance_BHT: torch.Tensor = module(*tensors)
        return np.asarray(relevance_BHT.float().cpu().numpy())

    return run


def _torch_module(extractor: Extractor, backend: Backend, device: "torch.device") -> Any:  # noqa: ANN401
    import warnings

    import torch

    if backend == "eager":
        return _eager_module(extractor).to(device)
    path = extractor.folder / GRAPHS[backend]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # torch.jit is deprecated, and still the format
            if backend == "torchscript":
                return torch.jit.load(path, map_location=device)
            module = torch.export.load(path).module()
    except Exception as problem:  # of a zip, of a pickle, of C++: nothing that they share
        raise ArtifactError(
            f"{path}: PyTorch {torch.__version__} cannot open it ({problem}). Export it again."
        ) from None
    return module.to(device)


def _eager_module(extractor: Extractor) -> Any:  # noqa: ANN401
    import torch

    from amix.engine.encoder import RelevanceKind, load_encoder
    from amix.engine.relevancemodule import RelevanceModule

    if extractor.dtype not in ("float32", "float16"):
        raise ArtifactError(
            f"{extractor.folder}: dtype {extractor.dtype} exists only as an ONNX graph, not in PyTorch."
        )
    try:
        encoder = load_encoder(extractor.model, extractor.revision)
    except AmixError as problem:
        raise ArtifactError(
            f"{extractor.folder}: the eager backend needs the original encoder again. {problem}"
        ) from problem
    if encoder.weights_sha256 != extractor.weights_sha256:
        raise ArtifactError(
            f"{extractor.model}: its weights are not those that {extractor.folder} was exported from. "
            "Export it again, or use one of its graphs."
        )
    layers = sorted({layer for layer, _ in extractor.heads})
    kind: RelevanceKind = "cls" if extractor.relevance == "cls" else "received"
    dtype = torch.float16 if extractor.dtype == "float16" else torch.float32
    return RelevanceModule(encoder, layers, kind, dtype=dtype)
