"""What an export can be asked for. No torch here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from amix.engine.base.errors import UsageError
from amix.engine.extractor.folder import Dtype, RelevanceKind

Format = Literal["onnx", "torchscript", "pt2"]
Via = Literal["direct", "optimum"]
RunsOn = Literal["cpu", "cuda"]

# The lowest and highest operator set that each writer can give, and that onnxruntime runs.
OPSETS: dict[Via, tuple[int, int]] = {
    "direct": (18, 23),
    "optimum": (18, 20),  # Optimum traces with TorchScript, whose exporter goes no higher
}


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How an encoder becomes an extractor.

    layers: export the heads of these, None = of all; nothing after the attention of the deepest one is kept.
    formats: one graph of each.  dtype: of weights and attention.  opset: None = the writer's default.
    device: where the ONNX graph is to be fast; it runs on either. cpu: attention head by head, so that scores stay in a
        core's cache, with a branch for each. cuda: all heads at once, since a GPU waits at every branch.
    via: what writes the ONNX graph, torch.onnx or Hugging Face Optimum; the extractor is the same.
    Raises UsageError for values that cannot be right.
    """

    layers: Sequence[int] | None = None
    relevance: RelevanceKind = "received"
    formats: Sequence[Format] = ("onnx",)
    dtype: Dtype = "float32"
    opset: int | None = None
    device: RunsOn = "cpu"
    via: Via = "direct"

    def __post_init__(self) -> None:
        for option, value, choices in (
            ("relevance", self.relevance, get_args(RelevanceKind)),
            ("dtype", self.dtype, get_args(Dtype)),
            ("device", self.device, get_args(RunsOn)),
            ("via", self.via, get_args(Via)),
            *(("format", name, get_args(Format)) for name in self.formats),
        ):
            if value not in choices:
                raise UsageError(f"--{option} {value}: unknown. Choose from {', '.join(choices)}.")
        if not self.formats:
            raise UsageError(f"no --format given. Choose from {', '.join(get_args(Format))}.")
        if self.dtype == "int8" and set(self.formats) != {"onnx"}:
            raise UsageError("--dtype int8 exists for --format onnx only. Leave the other formats out.")
        if self.via == "optimum" and set(self.formats) != {"onnx"}:
            other = next(name for name in self.formats if name != "onnx")
            raise UsageError(f"--format {other}: Optimum writes onnx only. Leave out one of the two.")
        lowest, highest = OPSETS[self.via]
        if self.opset is not None and not lowest <= self.opset <= highest:
            where = " with --via optimum" if self.via == "optimum" else ""
            raise UsageError(f"--opset {self.opset}: give {lowest} to {highest}{where}, or leave it out.")
