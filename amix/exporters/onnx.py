"""The extractor as an ONNX graph (`model.onnx`)."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.export import ExportedProgram

from amix.engine.base.errors import DependencyError, ExportError
from amix.engine.base.installing import install
from amix.exporters.capture import quiet_torch

if TYPE_CHECKING:
    import onnx

# A protobuf message holds at most 2 GiB; more bytes of weights than this go to `model.onnx.data`.
EXTERNAL_FROM = 1_900_000_000
OPEN_OPSET = 18  # the least that has the operators of `headwise`


def require_onnx() -> None:
    """Raise DependencyError unless the packages that write and check ONNX graphs are installed."""
    try:
        import onnx  # noqa: F401  only whether it is there
        import onnxscript  # noqa: F401  only whether it is there
    except ImportError as problem:
        raise DependencyError(
            f"exporting to ONNX needs onnx and onnxscript ({problem}). Install them with: "
            f"{install('onnx')}. Or export with --format torchscript."
        ) from None
    try:
        import onnxruntime  # noqa: F401  only whether it is there
    except ImportError as problem:
        raise DependencyError(
            f"an exported ONNX graph is checked with onnxruntime ({problem}). Install it with: "
            f"{install('cpu', 'gpu')}."
        ) from None


def write_onnx(
    program: ExportedProgram,
    input_names: tuple[str, ...],
    path: Path,
    opset: int | None = None,
    *,
    open_heads: int | None = None,
) -> int:
    """Write `program`, as `capture` made it, to `path` and return the opset it got.

    open_heads: of each layer, where it was captured from `OpenRelevance`.
    The bytes depend on the program and the library versions alone: stack traces, which hold paths, are left out.
    """
    try:
        with quiet_torch():
            exported = torch.onnx.export(
                program,
                dynamo=True,
                input_names=list(input_names),
                output_names=["relevance"],
                opset_version=opset,
                verbose=False,
            )
            assert exported is not None
            model = exported.model_proto
        if open_heads is not None:
            from amix.exporters.headwise import expand

            expand(model, open_heads)
    except Exception as problem:  # torch.onnx wraps whatever happened in private classes
        raise ExportError(
            f"torch.onnx cannot write this encoder ({problem}). Use --format torchscript, or another --opset."
        ) from problem
    return finish(model, path)


def finish(model: "onnx.ModelProto", path: Path) -> int:
    """Name the axes of `model`, remove traces of how it was made, save it to `path`; return its opset."""
    _clean(model)
    _save(model, path)
    return int(next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")))


def _clean(model: "onnx.ModelProto") -> None:
    graph = model.graph
    for part in (
        model,
        graph,
        *graph.node,
        *graph.initializer,
        *graph.input,
        *graph.output,
        *model.functions,
    ):
        del part.metadata_props[:]
        part.doc_string = ""
    for function in model.functions:
        for node in function.node:
            del node.metadata_props[:]
    del graph.value_info[:]  # inferred anew by every reader; here they carry the exporter's own axis names
    for value in (*graph.input, *graph.output):
        batch, *_, tokens = value.type.tensor_type.shape.dim
        batch.dim_param, tokens.dim_param = "batch", "tokens"


def _save(model: "onnx.ModelProto", path: Path) -> None:
    import onnx

    if sum(len(tensor.raw_data) for tensor in model.graph.initializer) < EXTERNAL_FROM:
        onnx.save_model(model, path)
    else:
        onnx.save_model(
            model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=1024
        )


def quantize_int8(path: Path) -> None:
    """Turn the weights of the graph at `path` into int8, with activations quantised on the fly."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with quiet_torch():
        # One scale per row of weights halves the error of one per matrix, at the same speed.
        quantize_dynamic(path, path, weight_type=QuantType.QInt8, per_channel=True)
