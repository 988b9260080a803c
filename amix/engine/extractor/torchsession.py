"""Running an extractor in PyTorch: its TorchScript or torch.export graph, or the encoder itself, maybe without maps.

Axes: B batch, H heads, T tokens.
"""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from amix.engine.base.errors import AmixError, DependencyError, ExtractorError, UsageError
from amix.engine.base.machine import available_cores
from amix.engine.extractor.devicememory import TorchMemory, TorchOutput, TorchUpload
from amix.engine.extractor.folder import FROM_WEIGHTS, GRAPHS, Backend, Extractor
from amix.engine.extractor.pipeline import StagedRunner
from amix.engine.extractor.runner import Inputs, Relevance, Runner, no_gpu

if TYPE_CHECKING:
    import torch


def open_torch(extractor: Extractor, backend: Backend, cuda: int | None, threads: int | None) -> Runner:
    """Return what runs `extractor` in PyTorch.

    backend: `torchscript`, `pt2`, `eager` or `triton`.  cuda: number of the GPU, None for the CPU.
    threads: within one operation; the first run sets it for the whole process. None leaves it as it is.
    Raises DeviceError when the GPU is not available, ExtractorError for what PyTorch cannot open.
    """
    if threads is not None and threads < available_cores():
        _load_torch_quietly()
    import torch

    if cuda is not None and cuda >= torch.cuda.device_count():
        raise no_gpu(
            cuda,
            f"PyTorch sees {torch.cuda.device_count()} GPUs",
            "Check the driver and that PyTorch has CUDA.",
        )
    device = torch.device("cpu" if cuda is None else f"cuda:{cuda}")
    module = _module(extractor, backend, device)
    if cuda is not None:
        try:  # a graph may name devices of the machine that captured it, which only a run shows
            module(*(torch.zeros(1, 2, dtype=torch.int64, device=device) for _ in extractor.inputs))
        except RuntimeError as problem:
            raise no_gpu(
                cuda, f"the backend {backend} does not run there ({problem})", "Use the backend onnxruntime."
            ) from None
        return TorchRunner(module, extractor.inputs, TorchMemory("cuda", cuda))

    def run(inputs: Inputs) -> Relevance:
        # Not on opening: OpenMP keeps the number per thread, and opening must not change the process.
        if threads is not None and torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        tensors = [
            torch.from_numpy(np.ascontiguousarray(inputs[name])).to(device) for name in extractor.inputs
        ]
        with torch.inference_mode():
            relevance_BHT: torch.Tensor = module(*tensors)
        return np.asarray(relevance_BHT.float().cpu().numpy())

    return run


class TorchRunner(StagedRunner[TorchUpload, TorchOutput]):
    """Runs a module on a GPU."""

    def __init__(self, module: "torch.nn.Module", inputs: Sequence[str], memory: TorchMemory) -> None:
        """Take a module that is on the device of `memory`, and the names of its inputs in order."""
        super().__init__(memory.index)
        self._module, self._inputs, self._memory = module, inputs, memory

    def _upload(self, inputs: Inputs) -> TorchUpload:
        return self._memory.upload(inputs)

    def _run(self, ready: TorchUpload) -> TorchOutput:
        import torch

        tensors = ready.tensors()
        with torch.inference_mode():
            relevance_BHT: torch.Tensor = self._module(*(tensors[name] for name in self._inputs)).float()
        if self._memory.name == "cuda":
            self._memory.marked(torch.cuda.current_stream(self._memory.device)).synchronize()
        output = TorchOutput(self._memory, relevance_BHT)
        output.send()
        return output

    def _fetch(self, done: TorchOutput) -> Relevance:
        return done.fetch()


def _load_torch_quietly() -> None:
    """Import torch so that its waiting threads sleep, instead of keeping cores busy that other workers need.

    OpenMP reads the policy once, when torch is loaded. Nothing changes if torch is loaded or a policy is set.
    """
    name = "OMP_WAIT_POLICY"
    if "torch" in sys.modules or name in os.environ:
        return
    os.environ[name] = "PASSIVE"
    try:
        import torch  # noqa: F401  loading it is all that is wanted
    finally:
        del os.environ[name]  # processes that this one starts should not inherit it


def _module(extractor: Extractor, backend: Backend, device: "torch.device") -> "torch.nn.Module":
    import warnings

    import torch

    if backend in FROM_WEIGHTS:
        return _from_weights(extractor, backend, device)
    path = extractor.folder / GRAPHS[backend]
    try:
        with warnings.catch_warnings():
            # torch.jit is deprecated, and still the format.
            warnings.simplefilter("ignore", DeprecationWarning)
            if backend == "torchscript":
                script: torch.nn.Module = torch.jit.load(path, map_location=device)
                return script
            module = torch.export.load(path).module()
    except Exception as problem:  # from zip, pickle or C++, without a common base class
        raise ExtractorError(
            f"{path}: PyTorch {torch.__version__} cannot open it ({problem}). Export it again."
        ) from None
    return module.to(device)


def _from_weights(extractor: Extractor, backend: Backend, device: "torch.device") -> "torch.nn.Module":
    import torch

    from amix.engine.extractor.encoder import load_encoder
    from amix.engine.extractor.module import RelevanceModule

    if backend == "triton":
        _require_triton(extractor, device)
    if extractor.dtype not in ("float32", "float16"):
        raise ExtractorError(
            f"{extractor.folder}: dtype {extractor.dtype} exists only as an ONNX graph. Use the backend onnxruntime."
        )
    try:
        encoder = load_encoder(extractor.model, extractor.revision)
    except AmixError as problem:
        raise ExtractorError(
            f"{extractor.folder}: the backend {backend} needs the original encoder again. {problem}"
        ) from problem
    if encoder.weights_sha256 != extractor.weights_sha256:
        raise ExtractorError(
            f"{extractor.model}: its weights are not those that {extractor.folder} was exported from. "
            "Export it again, or use one of its graphs."
        )
    layers = sorted({layer for layer, _ in extractor.heads})
    dtype = torch.float16 if extractor.dtype == "float16" else torch.float32
    if backend == "eager":
        return RelevanceModule(encoder.model, layers, extractor.relevance, dtype=dtype).to(device)
    from amix.engine.extractor.fused import FusedRelevance

    fused = FusedRelevance(encoder.model, layers, dtype).to(device)
    fused.require_agreement(encoder.model, encoder.max_length)
    return fused


def _require_triton(extractor: Extractor, device: "torch.device") -> None:
    """Raise UsageError where the kernel cannot run, DependencyError without Triton."""
    if extractor.relevance != "received":
        raise UsageError(
            f"{extractor.folder}: the backend triton computes relevance of the kind received, this is "
            f"{extractor.relevance}. Use the backend onnxruntime."
        )
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise UsageError(
            "the backend triton runs on a GPU. Give --device cuda, or use the backend onnxruntime."
        )
    try:
        import triton  # noqa: F401  only whether it is there
    except ImportError as problem:
        raise DependencyError(
            f"the backend triton needs the package triton ({problem}), which PyTorch's CUDA builds bring. Install it "
            "with: pip install triton. Or use the backend onnxruntime."
        ) from None
