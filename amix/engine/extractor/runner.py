"""What a session runs a backend by: a function from checked ids to relevance.

Axes: B batch, H heads, T tokens.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from amix.engine.base.errors import DeviceError
from amix.engine.base.words import counted

Ids = NDArray[np.int64]
Relevance = NDArray[np.float32]
Inputs = Mapping[str, Ids]  # by name, (B, T) each
Tag = TypeVar("Tag")

# How ONNX Runtime, cuBLAS and PyTorch say that a GPU has no memory left; none of them has an exception type for it
# that the others share.
_SHORT_OF_MEMORY = re.compile(
    r"out of memory|failed to allocate memory|ALLOC_FAILED|smaller than requested bytes", re.IGNORECASE
)


class Batch(NamedTuple):
    """Texts to run: ids, mask and token types, (B, T) int64 each, as `Session.run` takes them."""

    input_ids: Ids
    attention_mask: Ids
    token_type_ids: Ids | None = None


class Answer(NamedTuple, Generic[Tag]):
    """What became of one batch of a stream.

    tag: what came with the batch.  relevance: (B, H, T) float32; None where nothing was to be run.
    seconds: of the session.  cpu_seconds: of the thread, or the process, that ran it.
    """

    tag: Tag
    relevance: Relevance | None
    seconds: float = 0.0
    cpu_seconds: float = 0.0


class Runner(Protocol):
    """Runs one batch."""

    def __call__(self, inputs: Inputs) -> Relevance:
        """Return relevance (B, H, T), an array that no later run writes to. inputs: (B, T) each, not empty."""
        ...


@runtime_checkable
class Pipeline(Protocol):
    """Runs many batches, a bounded number of them at once: one is copied there, one computed, one copied back."""

    def stream(self, batches: Iterator[tuple[Tag, Inputs | None]]) -> Iterator[Answer[Tag]]:
        """Yield an answer for each batch, in order; None runs nothing, and is answered in its place.

        An error in `batches` or in a run is raised after the answers of the batches before it.
        """
        ...


def no_gpu(cuda: int, why: str, remedy: str) -> DeviceError:
    """Return the error for a GPU that was asked for and is not available."""
    return DeviceError(f"cuda:{cuda} was asked for, but {why}. {remedy} Or run on the CPU with --device cpu.")


SMALLER = (
    "Use a smaller --max-length, fewer --workers on this GPU, or another extractor: one of fewer layers "
    "(amix export --layers 0,1) or of half the width (amix export --dtype float16)."
)


def out_of_memory(cuda: int, shape: tuple[int, ...], problem: Exception) -> DeviceError | None:
    """Return the error for a batch (B, T) that a GPU has no room for, None if `problem` is something else."""
    if not _SHORT_OF_MEMORY.search(str(problem)):
        return None
    batch, tokens = shape
    size = re.search(r"requested buffer of size (\d+)", str(problem))
    asked = f" (for {int(size[1]) / 1e9:.1f} GB more)" if size else ""
    return DeviceError(
        f"cuda:{cuda} has no memory left{asked} for a batch of {counted(batch, 'text')} of {tokens} tokens. {SMALLER}"
    )
