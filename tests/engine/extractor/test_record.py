"""`extractor.json` byte for byte: the records in golden/ were written by commit ae68364, before they had types."""

from dataclasses import replace
from pathlib import Path

import pytest

from amix.engine.base.publish import sha256_bytes
from amix.engine.extractor.folder import Extractor, fingerprint, open_extractor, write_extractor
from amix.engine.extractor.measures import Fidelity, GraphParity, Measure, Parity

GOLDEN = Path(__file__).parent / "golden"
HEADS = ((0, 0), (0, 1))


def hashes(*names: str) -> dict[str, str]:
    """Return the files of a folder in which every file holds its own name."""
    return {name: sha256_bytes(name.encode()) for name in names}


FLOAT32 = Extractor(
    folder=Path("extractor"),
    model="sentence/Éncoder",
    revision=None,
    model_type="bert",
    relevance="received",
    heads=HEADS,
    max_length=512,
    dtype="float32",
    opset=20,
    inputs=("input_ids", "attention_mask"),
    vocab_size=30522,
    pad_id=0,
    special_ids=(0, 101, 102, 103),
    tokenizer_fingerprint=sha256_bytes(b"ids"),
    weights_sha256=sha256_bytes(b"weights"),
    files=hashes("config.json", "model.onnx", "model.pt2", "model.torchscript.pt", "tokenizer.json"),
    parity=Parity(
        graphs={
            "onnxruntime": GraphParity(max_abs=1.1920928955078125e-06, relative_l2=3.25e-07),
            "pt2": GraphParity(max_abs=0.0, relative_l2=0.0),
            "torchscript": GraphParity(max_abs=9.5367431640625e-07, relative_l2=2.9e-07),
        },
        probes=((1, 3), (1, 96), (2, 9)),
    ),
    versions={"python": "3.11.9", "torch": "2.13.0", "onnxruntime": "1.32.0"},
    fingerprint=fingerprint(
        weights_sha256=sha256_bytes(b"weights"),
        tokenizer_fingerprint=sha256_bytes(b"ids"),
        heads=HEADS,
        relevance="received",
        dtype="float32",
    ),
)
INT8 = replace(
    FLOAT32,
    revision="0123456789abcdef0123456789abcdef01234567",
    dtype="int8",
    opset=18,
    inputs=("input_ids", "attention_mask", "token_type_ids"),
    files=hashes("config.json", "model.onnx", "tokenizer.json"),
    parity=Parity(
        graphs={"onnxruntime": GraphParity(max_abs=0.75, relative_l2=0.0825)}, probes=((1, 3), (5, 96))
    ),
    fidelity=Fidelity(
        texts=24,
        tokens=4032,
        relative_l2=Measure(
            per_head=(0.081234, 0.190001), best=0.081234, median=0.135618, worst=0.190001, worst_head="0.1"
        ),
        rank_correlation=Measure(
            per_head=(0.998, 1.0), best=1.0, median=0.999, worst=0.998, worst_head="0.0"
        ),
    ),
    fingerprint=fingerprint(
        weights_sha256=sha256_bytes(b"weights"),
        tokenizer_fingerprint=sha256_bytes(b"ids"),
        heads=HEADS,
        relevance="received",
        dtype="int8",
    ),
)


@pytest.mark.parametrize(("name", "extractor"), [("float32.json", FLOAT32), ("int8.json", INT8)])
def test_records_are_written_and_read_as_they_always_were(
    name: str, extractor: Extractor, tmp_path: Path
) -> None:
    expected = replace(extractor, folder=tmp_path)
    for file in expected.files:
        (tmp_path / file).write_text(file)

    write_extractor(expected)
    assert (tmp_path / "extractor.json").read_bytes() == (GOLDEN / name).read_bytes()
    assert open_extractor(tmp_path) == expected
