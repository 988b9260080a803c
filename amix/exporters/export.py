"""From an encoder to a published extractor folder: capture, write, compare, seal, rename."""

import platform
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Literal, get_args

import torch

from amix.engine.base.errors import ExportError, UsageError
from amix.engine.base.publish import require_vacant, sha256_file, staged_folder
from amix.engine.extractor.encoder import Encoder, load_encoder, quiet_transformers
from amix.engine.extractor.folder import (
    GRAPHS,
    Backend,
    Dtype,
    Extractor,
    RelevanceKind,
    fingerprint,
    write_extractor,
)
from amix.engine.extractor.measures import Fidelity, GraphParity, Parity
from amix.engine.extractor.module import RelevanceModule
from amix.engine.extractor.session import open_session
from amix.engine.extractor.tokenizer import padding_id, special_ids, tokenizer_fingerprint
from amix.exporters.capture import capture
from amix.exporters.fidelity import fidelity
from amix.exporters.onnx import OPSETS, quantize_int8, require_onnx, write_onnx
from amix.exporters.optimum import OPSETS as OPTIMUM_OPSETS
from amix.exporters.optimum import PACKAGES as OPTIMUM_PACKAGES
from amix.exporters.optimum import require_optimum, write_optimum
from amix.exporters.parity import check, make_probes
from amix.exporters.pt2 import write_pt2
from amix.exporters.torchscript import write_torchscript

Format = Literal["onnx", "torchscript", "pt2"]
Via = Literal["direct", "optimum"]

_BACKENDS: dict[Format, Backend] = {"onnx": "onnxruntime", "torchscript": "torchscript", "pt2": "pt2"}
_PACKAGES = ("torch", "transformers", "tokenizers", "onnx", "onnxscript", "onnxruntime")


def export(
    model: str,
    out: Path | str,
    *,
    layers: Sequence[int] | None = None,
    revision: str | None = None,
    relevance: RelevanceKind = "received",
    formats: Sequence[Format] = ("onnx",),
    dtype: Dtype = "float32",
    opset: int | None = None,
    via: Via = "direct",
) -> Extractor:
    """Export the encoder `model` (Hub id or folder) to the folder `out`, which must be absent or empty.

    layers: whose heads are exported, None for all; nothing after the attention of the deepest one is kept.
    via: who writes the ONNX graph, torch.onnx or Hugging Face Optimum; the extractor is the same.
    Every graph is compared with the encoder in eager PyTorch before `out` appears; a failure leaves nothing.
    Raises UsageError for options that cannot be right, ExportError for encoders that cannot be exported.
    """
    out = Path(out)
    _check_options(relevance, formats, dtype, opset, via)
    require_vacant(out, "an extractor")
    if "onnx" in formats:
        require_onnx()
    if via == "optimum":
        require_optimum()

    encoder = load_encoder(model, revision)
    wanted = _checked_layers(encoder, layers)
    with staged_folder(out, "an extractor") as stage:
        # First, so that an encoder without readable attention is refused before anything slow.
        probes = make_probes(encoder, RelevanceModule(encoder, wanted, relevance, cut=False), via)

        _write_encoder_files(encoder, stage)
        got_opset = _write_graphs(encoder, wanted, relevance, formats, dtype, opset, via, stage)
        draft = _describe(encoder, wanted, relevance, dtype, got_opset, via, stage)
        write_extractor(draft)  # the parity check opens the folder as users will

        graphs: dict[str, GraphParity] = {
            _BACKENDS[name]: check(open_session(stage, backend=_BACKENDS[name]), probes) for name in formats
        }
        lost: Fidelity | None = None
        if dtype != "float32":
            lost = fidelity(open_session(stage), RelevanceModule(encoder, wanted, relevance, cut=False))
        extractor = replace(
            draft,
            parity=Parity(graphs=graphs, probes=tuple(probe.shape for probe in probes)),
            fidelity=lost,
        )
        write_extractor(extractor)
    return replace(extractor, folder=out)


def _check_options(relevance: str, formats: Sequence[str], dtype: str, opset: int | None, via: str) -> None:
    for option, value, choices in (
        ("relevance", relevance, get_args(RelevanceKind)),
        ("dtype", dtype, get_args(Dtype)),
        ("via", via, get_args(Via)),
        *(("format", name, get_args(Format)) for name in formats),
    ):
        if value not in choices:
            raise UsageError(f"--{option} {value}: unknown. Choose from {', '.join(choices)}.")
    if not formats:
        raise UsageError("no --format given. Choose from onnx, torchscript, pt2.")
    if dtype == "int8" and set(formats) != {"onnx"}:
        raise UsageError("--dtype int8 exists for --format onnx only. Leave the other formats out.")
    if via == "optimum" and set(formats) != {"onnx"}:
        other = next(name for name in formats if name != "onnx")
        raise UsageError(f"--format {other}: Optimum writes onnx only. Leave it or --via optimum out.")
    lowest, highest = OPTIMUM_OPSETS if via == "optimum" else OPSETS
    if opset is not None and not lowest <= opset <= highest:
        where = " with --via optimum" if via == "optimum" else ""
        raise UsageError(f"--opset {opset}: give {lowest} to {highest}{where}, or leave it out.")


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
            f"{encoder.name}: its tokenizer cannot be saved as tokenizer.json, which amix needs."
        )


def _write_graphs(
    encoder: Encoder,
    layers: Sequence[int],
    relevance: RelevanceKind,
    formats: Sequence[Format],
    dtype: Dtype,
    opset: int | None,
    via: Via,
    stage: Path,
) -> int | None:
    module = RelevanceModule(
        encoder, layers, relevance, dtype=torch.float16 if dtype == "float16" else torch.float32
    )
    got_opset = None
    path = stage / GRAPHS["onnxruntime"]
    if "torchscript" in formats:
        write_torchscript(module, encoder, stage / GRAPHS["torchscript"])
    if via == "optimum":
        got_opset = write_optimum(module, encoder, path, opset)
    elif "onnx" in formats or "pt2" in formats:
        program = capture(module, encoder)
        if "pt2" in formats:
            write_pt2(program, encoder, stage / GRAPHS["pt2"])
        if "onnx" in formats:
            got_opset = write_onnx(program, encoder.input_names, path, opset)
    if dtype == "int8":  # for ONNX only, as checked
        quantize_int8(path)
    return got_opset


def _describe(
    encoder: Encoder,
    layers: Sequence[int],
    relevance: RelevanceKind,
    dtype: Dtype,
    opset: int | None,
    via: Via,
    stage: Path,
) -> Extractor:
    tokenizer_text = (stage / "tokenizer.json").read_text(encoding="utf-8")
    heads = tuple((layer, head) for layer in layers for head in range(encoder.shape[1]))
    tokenizer_hash = tokenizer_fingerprint(tokenizer_text)
    return Extractor(
        folder=stage,
        model=encoder.name,
        revision=encoder.revision,
        model_type=encoder.model_type,
        relevance=relevance,
        heads=heads,
        max_length=encoder.max_length,
        dtype=dtype,
        opset=opset,
        inputs=encoder.input_names,
        vocab_size=encoder.config.vocab_size,
        pad_id=padding_id(encoder.tokenizer),
        special_ids=special_ids(encoder.tokenizer),
        tokenizer_fingerprint=tokenizer_hash,
        weights_sha256=encoder.weights_sha256,
        files={path.name: sha256_file(path) for path in sorted(stage.iterdir()) if path.is_file()},
        versions=_versions(_PACKAGES + (OPTIMUM_PACKAGES if via == "optimum" else ())),
        fingerprint=fingerprint(
            weights_sha256=encoder.weights_sha256,
            tokenizer_fingerprint=tokenizer_hash,
            heads=heads,
            relevance=relevance,
            dtype=dtype,
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
