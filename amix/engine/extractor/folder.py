"""The extractor folder: what is in it, and how it is opened with every byte checked. No torch here."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from amix.engine.base import canonical
from amix.engine.base.errors import ExtractorError
from amix.engine.base.heads import Head
from amix.engine.base.kinds import described
from amix.engine.base.lfs import is_pointer, pointer_refusal
from amix.engine.base.publish import is_utf8, sha256_file, write_atomic
from amix.engine.extractor.measures import Fidelity, Parity

FORMAT_VERSION = 1
RECORD = "extractor.json"

Backend = Literal["onnxruntime", "torchscript", "pt2", "eager", "triton"]
RelevanceKind = Literal["received", "cls"]
Dtype = Literal["float32", "float16", "int8"]

# Best first.
GRAPHS: dict[Backend, str] = {
    "onnxruntime": "model.onnx",
    "torchscript": "model.torchscript.pt",
    "pt2": "model.pt2",
}
# These load the original encoder in place of a graph.
FROM_WEIGHTS: tuple[Backend, ...] = ("eager", "triton")


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """What `extractor.json` says. Everything but `folder` is stored.

    model, revision: the name given to the export, and the Hub commit it resolved to.
    heads: (layer, head) of each row of the output, in order.
    max_length: usable positions.  opset: None without an ONNX graph.  inputs: names, in order.
    files: sha256 of every other file.
    fidelity: None for float32, and in folders of versions that did not measure it.
    fingerprint: sha256 over what changes the numbers: weights, tokenizer, heads, kind, dtype.
    """

    folder: Path
    format_version: int = FORMAT_VERSION
    model: str
    revision: str | None
    model_type: str
    relevance: RelevanceKind
    heads: tuple[Head, ...]
    max_length: int
    dtype: Dtype
    opset: int | None
    inputs: tuple[str, ...]
    vocab_size: int
    pad_id: int
    special_ids: tuple[int, ...]
    tokenizer_fingerprint: str
    weights_sha256: str
    files: Mapping[str, str]
    parity: Parity = field(default_factory=Parity)
    versions: Mapping[str, str]
    fingerprint: str
    fidelity: Fidelity | None = None

    @property
    def backends(self) -> tuple[Backend, ...]:
        """The backends that this folder holds a graph for, best first."""
        return tuple(backend for backend, name in GRAPHS.items() if name in self.files)

    @property
    def graph_sha256(self) -> dict[Backend, str]:
        """What each backend runs, as a sha256: the graph's file, or the weights for those that load the encoder."""
        found: dict[Backend, str] = {backend: self.files[GRAPHS[backend]] for backend in self.backends}
        data = f"{GRAPHS['onnxruntime']}.data"  # weights past protobuf's 2 GB
        if data in self.files:
            found["onnxruntime"] = canonical.digest([found["onnxruntime"], self.files[data]])
        return {**found, **dict.fromkeys(FROM_WEIGHTS, self.weights_sha256)}


def fingerprint(
    *,
    weights_sha256: str,
    tokenizer_fingerprint: str,
    heads: tuple[Head, ...],
    relevance: RelevanceKind,
    dtype: Dtype,
) -> str:
    """Return the sha256 over what changes the numbers: no path, time, format or library version."""
    return canonical.digest(
        {
            "weights": weights_sha256,
            "tokenizer": tokenizer_fingerprint,
            "heads": heads,
            "relevance": relevance,
            "dtype": dtype,
        }
    )


def write_extractor(extractor: Extractor) -> None:
    """Write `extractor.json` into its folder, sealed with its own sha256."""
    fidelity = {} if extractor.fidelity is None else asdict(extractor.fidelity)
    document = {**asdict(extractor), "parity": extractor.parity.as_document(), "fidelity": fidelity}
    del document["folder"]
    write_atomic(extractor.folder / RECORD, canonical.seal(document))


_AGAIN = "Run 'amix export' again into a new folder."


def open_extractor(folder: Path | str) -> Extractor:
    """Return the extractor in `folder`, after checking its record and the sha256 of every file.

    Raises ExtractorError that names the file and what to do.
    """
    extractor = read_record(folder)
    _check_files(extractor)
    return extractor


def read_record(folder: Path | str) -> Extractor:
    """Return what the record of an extractor says. Its files are not looked at. Raises ExtractorError."""
    folder = Path(folder)
    record = folder / RECORD
    if not is_utf8(folder):
        raise ExtractorError(
            f"{folder}: the path is not valid UTF-8, and the runtimes need that. Give it another name."
        )
    if is_pointer(record):
        raise ExtractorError(pointer_refusal(record))
    try:
        data = record.read_bytes()
    except FileNotFoundError:
        if not folder.exists():
            raise ExtractorError(
                f"{folder}: no such folder. Make one with 'amix export MODEL {folder}'."
            ) from None
        found = described(folder)
        what = f"{found}, not an extractor" if found else "not an extractor, it has no extractor.json"
        raise ExtractorError(f"{folder}: {what}. Name a folder that 'amix export' wrote.") from None
    except OSError as problem:
        raise ExtractorError(f"{record}: cannot be read ({problem.strerror}). {_AGAIN}") from None
    document = canonical.unseal(data, str(record), error=ExtractorError)

    version = document.get("format_version")
    if version != FORMAT_VERSION:
        raise ExtractorError(
            f"{record}: has format version {version}, this amix reads {FORMAT_VERSION}. "
            "Export the encoder again with this version."
        )
    try:
        return _from_document(folder, document)
    except KeyError as problem:
        raise ExtractorError(f"{record}: the field {problem} is missing. {_AGAIN}") from None
    except (AttributeError, TypeError, ValueError) as problem:
        raise ExtractorError(f"{record}: a field is malformed ({problem}). {_AGAIN}") from None


def _from_document(folder: Path, document: Mapping[str, Any]) -> Extractor:  # Any: JSON, checked here
    for name, choices in (("relevance", get_args(RelevanceKind)), ("dtype", get_args(Dtype))):
        if document[name] not in choices:
            raise ValueError(f"{name} is {document[name]!r}")
    opset, fidelity = document["opset"], document.get("fidelity")  # not measured by earlier versions
    return Extractor(
        folder=folder,
        format_version=document["format_version"],
        model=document["model"],
        revision=document["revision"],
        model_type=document["model_type"],
        relevance=document["relevance"],
        heads=tuple((int(layer), int(head)) for layer, head in document["heads"]),
        max_length=int(document["max_length"]),
        dtype=document["dtype"],
        opset=None if opset is None else int(opset),
        inputs=tuple(document["inputs"]),
        vocab_size=int(document["vocab_size"]),
        pad_id=int(document["pad_id"]),
        special_ids=tuple(document["special_ids"]),
        tokenizer_fingerprint=document["tokenizer_fingerprint"],
        weights_sha256=document["weights_sha256"],
        files=dict(document["files"]),
        parity=Parity.from_document(document["parity"]),
        versions=dict(document["versions"]),
        fingerprint=document["fingerprint"],
        fidelity=Fidelity.from_document(fidelity) if fidelity else None,
    )


def _check_files(extractor: Extractor) -> None:
    for name, expected in extractor.files.items():
        path = extractor.folder / name
        if Path(name).name != name or name in ("", ".", ".."):
            raise ExtractorError(
                f"{extractor.folder / RECORD}: names the file '{name}' outside its folder. {_AGAIN}"
            )
        try:
            found = sha256_file(path)
        except OSError as problem:
            raise ExtractorError(f"{path}: cannot be read ({problem.strerror}). {_AGAIN}") from None
        if found != expected and is_pointer(path):
            raise ExtractorError(pointer_refusal(path))
        if found != expected:
            raise ExtractorError(
                f"{path}: the content does not match extractor.json; it was changed or damaged. {_AGAIN}"
            )
    if not extractor.backends or not extractor.heads:
        raise ExtractorError(f"{extractor.folder}: holds no graph or no heads. {_AGAIN}")
