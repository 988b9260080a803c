"""From an encoder to a published extractor folder: capture, write, compare, seal, rename."""

import platform
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import torch
from torch.export import ExportedProgram

from amix.engine.base.errors import ExportError, UsageError
from amix.engine.base.place import output_folder
from amix.engine.base.publish import sha256_file
from amix.engine.extractor.encoder import Encoder, load_encoder
from amix.engine.extractor.folder import (
    GRAPHS,
    RECORD,
    Backend,
    Extractor,
    fingerprint,
    write_extractor,
)
from amix.engine.extractor.measures import GraphParity, Parity
from amix.engine.extractor.module import RelevanceModule
from amix.engine.extractor.pretrained import quiet_transformers
from amix.engine.extractor.session import open_session
from amix.engine.extractor.tokenizer import padding_id, special_ids, tokenizer_fingerprint
from amix.exporters.capture import capture
from amix.exporters.fidelity import fidelity
from amix.exporters.onnx import OPEN_OPSET, quantize_int8, require_onnx, write_onnx
from amix.exporters.openattention import OpenRelevance, Unsupported
from amix.exporters.optimum import PACKAGES as OPTIMUM_PACKAGES
from amix.exporters.optimum import require_optimum, write_optimum
from amix.exporters.options import ExportOptions, Format
from amix.exporters.parity import check, make_probes
from amix.exporters.pt2 import write_pt2
from amix.exporters.torchscript import write_torchscript

_BACKENDS: dict[Format, Backend] = {"onnx": "onnxruntime", "torchscript": "torchscript", "pt2": "pt2"}
# The deepest layer up to which tables in place of the first layer's projections are worth their memory: with one layer
# more they save a tenth of the processor's time, which is lost again to reading them.
_LOOKED_UP = 0
_PACKAGES = ("torch", "transformers", "tokenizers", "onnx", "onnxscript", "onnxruntime")


def export(
    model: str, out: Path | str, options: ExportOptions | None = None, *, revision: str | None = None
) -> Extractor:
    """Export the encoder `model` (Hub id or folder) to the folder `out`, which must be absent or empty.

    Every graph is compared with the encoder in eager PyTorch before `out` appears; a failure leaves nothing.
    Raises UsageError for options that cannot be right, ExportError for encoders that cannot be exported.
    """
    out, options = Path(out), options or ExportOptions()
    if "onnx" in options.formats:
        require_onnx()
    if options.via == "optimum":
        require_optimum()

    with output_folder(out, "an extractor", last=RECORD) as stage:
        encoder = load_encoder(model, revision)
        layers = _checked_layers(encoder, options.layers)
        # First, so that an encoder without readable attention is refused before anything slow.
        probes = make_probes(encoder, _whole(encoder, layers, options), options.via)

        _write_encoder_files(encoder, stage)
        opset = _write_graphs(encoder, layers, options, stage)
        draft = _describe(encoder, layers, options, opset, stage)
        write_extractor(draft)  # the parity check opens the folder as users will

        graphs: dict[str, GraphParity] = {
            _BACKENDS[name]: check(open_session(stage, backend=_BACKENDS[name]), probes)
            for name in options.formats
        }
        lost = None
        if options.dtype != "float32":
            lost = fidelity(open_session(stage), _whole(encoder, layers, options))
        parity = Parity(graphs=graphs, probes=tuple(probe.shape for probe in probes))
        extractor = replace(draft, parity=parity, fidelity=lost)
        write_extractor(extractor)
    return replace(extractor, folder=out)


def _whole(encoder: Encoder, layers: Sequence[int], options: ExportOptions) -> RelevanceModule:
    """Return a new reference to compare graphs with: float32, with all layers."""
    return RelevanceModule(encoder.model, layers, options.relevance, cut=False)


def _checked_layers(encoder: Encoder, layers: Sequence[int] | None) -> list[int]:
    count, _ = encoder.shape
    if layers is None:
        return list(range(count))
    wrong = sorted({layer for layer in layers if not 0 <= layer < count})
    if wrong or not layers:
        what = f"layer {wrong[0]} is not there" if wrong else "no layer given"
        raise UsageError(f"--layers: {what}; {encoder.name} has layers 0 to {count - 1}.")
    return sorted(set(layers))


def _write_encoder_files(encoder: Encoder, stage: Path) -> None:
    with quiet_transformers():
        encoder.config.save_pretrained(stage)
        encoder.tokenizer.save_pretrained(stage)
    if not (stage / "tokenizer.json").is_file():
        raise ExportError(
            f"{encoder.name}: its tokenizer cannot be saved as tokenizer.json. Take an encoder with a fast tokenizer."
        )


def _write_graphs(encoder: Encoder, layers: Sequence[int], options: ExportOptions, stage: Path) -> int | None:
    """Write one graph of each format, and return the operator set of the ONNX one."""
    dtype = torch.float16 if options.dtype == "float16" else torch.float32
    module = RelevanceModule(encoder.model, layers, options.relevance, dtype=dtype)
    opset = None
    path = stage / GRAPHS["onnxruntime"]
    if "torchscript" in options.formats:
        write_torchscript(module, encoder, stage / GRAPHS["torchscript"])
    if options.via == "optimum":
        opset = write_optimum(module, encoder, path, options.opset)
    else:
        program = None
        if "pt2" in options.formats:
            program = capture(module, encoder)
            write_pt2(program, encoder, stage / GRAPHS["pt2"])
        if "onnx" in options.formats:
            left_open = _left_open(encoder, layers, options)
            if left_open is not None:
                heads = encoder.shape[1]
                opset = write_onnx(left_open, encoder.input_names, path, options.opset, open_heads=heads)
            else:
                program = program or capture(module, encoder)
                opset = write_onnx(program, encoder.input_names, path, options.opset)
    if options.dtype == "int8":  # of ONNX only, which ExportOptions checks
        quantize_int8(path)
    return opset


def _left_open(encoder: Encoder, layers: Sequence[int], options: ExportOptions) -> ExportedProgram | None:
    """Return a program for ONNX whose attention is left open, None where only the family's own will do.

    float16 has too small a range for it, and int8 is for products with weights.
    """
    wanted = (options.dtype, options.relevance, options.device) == ("float32", "received", "cpu")
    if not wanted or (options.opset or OPEN_OPSET) < OPEN_OPSET:
        return None
    for looks_up in (True, False) if layers[-1] <= _LOOKED_UP else (False,):
        try:
            open_one = OpenRelevance(encoder.model, layers, encoder.max_length, looks_up=looks_up)
            return capture(open_one, encoder)
        except (Unsupported, ExportError):
            continue
    return None


def _describe(
    encoder: Encoder, layers: Sequence[int], options: ExportOptions, opset: int | None, stage: Path
) -> Extractor:
    tokenizer_text = (stage / "tokenizer.json").read_text(encoding="utf-8")
    heads = tuple((layer, head) for layer in layers for head in range(encoder.shape[1]))
    tokenizer_hash = tokenizer_fingerprint(tokenizer_text)
    return Extractor(
        folder=stage,
        model=encoder.name,
        revision=encoder.revision,
        model_type=encoder.model_type,
        relevance=options.relevance,
        heads=heads,
        max_length=encoder.max_length,
        dtype=options.dtype,
        opset=opset,
        inputs=encoder.input_names,
        vocab_size=encoder.config.vocab_size,
        pad_id=padding_id(encoder.tokenizer),
        special_ids=special_ids(encoder.tokenizer),
        tokenizer_fingerprint=tokenizer_hash,
        weights_sha256=encoder.weights_sha256,
        files={path.name: sha256_file(path) for path in sorted(stage.iterdir()) if path.is_file()},
        versions=_versions(_PACKAGES + (OPTIMUM_PACKAGES if options.via == "optimum" else ())),
        fingerprint=fingerprint(
            weights_sha256=encoder.weights_sha256,
            tokenizer_fingerprint=tokenizer_hash,
            heads=heads,
            relevance=options.relevance,
            dtype=options.dtype,
        ),
    )


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            if package == "onnxruntime":  # its GPU build is another distribution
                continue
    return found
