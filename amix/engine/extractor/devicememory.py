"""Where the inputs and outputs of an ONNX Runtime session lie, and how they get there and back.

ONNX Runtime copies from and to ordinary memory, one copy after the other, while the GPU waits. PyTorch has what it
lacks in Python: page-locked memory, and streams whose copies run beside its kernels. Both keep what they have allocated
for later use, so that only the first batches pay for it.

Every step here is called by one thread at a time, but different steps by different threads.

Axes: B batch, H heads, T tokens.
"""

from typing import TYPE_CHECKING, Protocol

import numpy as np

from amix.engine.extractor.runner import Inputs, Relevance

if TYPE_CHECKING:
    import onnxruntime
    import torch

OUTPUT = "relevance"


class Uploaded(Protocol):
    """Inputs of one batch on their way to the device."""

    def bind(self, binding: "onnxruntime.IOBinding") -> None:
        """Bind them, when they are there. They are to be kept until the run is over."""
        ...


class Output(Protocol):
    """The output of one batch."""

    def bind(self, binding: "onnxruntime.IOBinding") -> None:
        """Bind the memory that the run writes to."""
        ...

    def send(self) -> None:
        """Start the copy to the host; called when the run is over."""
        ...

    def fetch(self) -> Relevance:
        """Return it as (B, H, T), when the copy is over: an array of its own, which nothing writes to later."""
        ...


class DeviceMemory(Protocol):
    """What allocates on a device."""

    def upload(self, inputs: Inputs) -> Uploaded:
        """Start to copy the inputs of a batch to the device."""
        ...

    def output(self, shape: tuple[int, int, int]) -> Output:
        """Return room for the relevance of a batch, (B, H, T)."""
        ...


def device_memory(device: str, index: int) -> DeviceMemory:
    """Return PyTorch's memory where it can reach the device, else ONNX Runtime's. device: `cuda` or `cpu`."""
    try:
        import torch
    except ImportError:
        return RuntimeMemory(device, index)
    # A build of PyTorch without CUDA, or with another, sees no GPU.
    if device == "cuda" and index >= torch.cuda.device_count():
        return RuntimeMemory(device, index)
    return TorchMemory(device, index)


class TorchMemory:
    """Page-locked memory on the host, and a stream for each direction."""

    def __init__(self, device: str, index: int) -> None:
        """Take a device as ONNX Runtime names it. On the `cpu` nothing is copied."""
        import torch

        self.name, self.index = device, index
        self.device = torch.device(device, index)
        on_gpu = device == "cuda"
        self._up = torch.cuda.Stream(self.device) if on_gpu else None
        self._down = torch.cuda.Stream(self.device) if on_gpu else None

    def upload(self, inputs: Inputs) -> "TorchUpload":
        """Start to copy the inputs of a batch to the device."""
        import torch

        # PyTorch warns of arrays that cannot be written to.
        hosts = {
            name: torch.from_numpy(np.require(ids_BT, requirements=["C", "W"]))
            for name, ids_BT in inputs.items()
        }
        if self._up is None:
            return TorchUpload(self, hosts, None)
        # The allocator of page-locked memory knows of the copy, and gives the memory to nobody else before its end.
        with torch.cuda.stream(self._up):
            tensors = {
                name: host.pin_memory().to(self.device, non_blocking=True) for name, host in hosts.items()
            }
        return TorchUpload(self, tensors, self.marked(self._up))

    def output(self, shape: tuple[int, int, int]) -> "TorchOutput":
        """Return room for the relevance of a batch, (B, H, T)."""
        import torch

        return TorchOutput(self, torch.empty(shape, dtype=torch.float32, device=self.device))

    def download(self, tensor: "torch.Tensor") -> "tuple[torch.Tensor, torch.cuda.Event | None]":
        """Start to copy a tensor to the host; return the copy, and what happens at its end."""
        import torch

        if self._down is None:
            return tensor, None
        with torch.cuda.stream(self._down):
            host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            host.copy_(tensor, non_blocking=True)
        return host, self.marked(self._down)

    def marked(self, stream: "torch.cuda.Stream") -> "torch.cuda.Event":
        """Return what happens when a stream has done all that it has been given so far."""
        import torch

        with torch.cuda.device(self.device):
            event = torch.cuda.Event(blocking=True)  # who waits for it leaves its core to others
            event.record(stream)
        return event


class TorchUpload:
    """Inputs of one batch, as tensors."""

    def __init__(
        self, memory: TorchMemory, tensors: "dict[str, torch.Tensor]", copied: "torch.cuda.Event | None"
    ) -> None:
        self._memory, self._tensors, self._copied = memory, tensors, copied

    def tensors(self) -> "dict[str, torch.Tensor]":
        """Return them, when they are there."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._tensors

    def bind(self, binding: "onnxruntime.IOBinding") -> None:
        """Bind them, when they are there."""
        # They are waited for: ONNX Runtime's own stream knows nothing of ours.
        for name, tensor in self.tensors().items():
            binding.bind_input(
                name, self._memory.name, self._memory.index, np.int64, tuple(tensor.shape), tensor.data_ptr()
            )


class TorchOutput:
    """The output of one batch, a tensor of (B, H, T) float32."""

    def __init__(self, memory: TorchMemory, tensor: "torch.Tensor") -> None:
        self._memory, self._tensor = memory, tensor
        self._copied: torch.cuda.Event | None = None
        self._host = tensor

    def bind(self, binding: "onnxruntime.IOBinding") -> None:
        """Bind the memory that the run writes to."""
        binding.bind_output(
            OUTPUT,
            self._memory.name,
            self._memory.index,
            np.float32,
            tuple(self._tensor.shape),
            self._tensor.data_ptr(),
        )

    def send(self) -> None:
        """Start the copy to the host."""
        self._host, self._copied = self._memory.download(self._tensor)

    def fetch(self) -> Relevance:
        """Return it, when the copy is over."""
        if self._copied is not None:
            self._copied.synchronize()  # before that, the memory on the device must not be anybody else's
        del self._tensor
        return np.asarray(self._host.numpy(), dtype=np.float32)


class RuntimeMemory:
    """ONNX Runtime's own memory: ordinary on the host, and copies that are waited for."""

    def __init__(self, device: str, index: int) -> None:
        """Take a device as ONNX Runtime names it."""
        self._device, self._index = device, index

    def upload(self, inputs: Inputs) -> "_RuntimeUpload":
        """Copy the inputs of a batch to the device."""
        import onnxruntime as ort

        return _RuntimeUpload(
            {
                name: ort.OrtValue.ortvalue_from_numpy(
                    np.ascontiguousarray(ids_BT), self._device, self._index
                )
                for name, ids_BT in inputs.items()
            }
        )

    def output(self, shape: tuple[int, int, int]) -> "_RuntimeOutput":
        """Return room for the relevance of a batch, which the run itself allocates."""
        return _RuntimeOutput(self._device, self._index)


class _RuntimeUpload:
    def __init__(self, values: "dict[str, onnxruntime.OrtValue]") -> None:
        self._values = values

    def bind(self, binding: "onnxruntime.IOBinding") -> None:
        for name, value in self._values.items():
            binding.bind_ortvalue_input(name, value)


class _RuntimeOutput:
    def __init__(self, device: str, index: int) -> None:
        self._device, self._index = device, index
        self._binding: onnxruntime.IOBinding | None = None

    def bind(self, binding: "onnxruntime.IOBinding") -> None:
        self._binding = binding
        binding.bind_output(OUTPUT, self._device, self._index)

    def send(self) -> None:
        pass

    def fetch(self) -> Relevance:
        assert self._binding is not None
        (relevance_BHT,) = self._binding.copy_outputs_to_cpu()
        return np.asarray(relevance_BHT, dtype=np.float32)
