"""Extractor folders: what is recorded, and what is refused when a byte is not as recorded."""

import json
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from amix.engine.base import canonical
from amix.engine.base.errors import ExtractorError
from amix.engine.base.publish import sha256_file
from amix.engine.extractor.folder import open_extractor
from amix.engine.extractor.tokenizer import open_tokenizer

PACKAGES = ("torch", "transformers", "tokenizers", "onnx", "onnxscript", "onnxruntime")


@pytest.fixture
def copy(tiny_extractor: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_extractor, tmp_path / "extractor")


def rewrite(folder: Path, **changes: object) -> None:
    """Change fields of extractor.json and seal it again."""
    record = folder / "extractor.json"
    record.write_bytes(canonical.seal({**json.loads(record.read_bytes()), **changes}))


def leave_out(folder: Path, name: str) -> None:
    """Remove a field of extractor.json and seal it again."""
    record = folder / "extractor.json"
    document = json.loads(record.read_bytes())
    del document[name]
    record.write_bytes(canonical.seal(document))


def test_the_record_describes_the_folder(tiny_extractor: Path, tiny_bert: Path) -> None:
    extractor = open_extractor(tiny_extractor)
    assert extractor.model == str(tiny_bert)
    assert extractor.model_type == "bert"
    assert extractor.heads == ((0, 0), (0, 1), (1, 0), (1, 1))
    assert extractor.inputs == ("input_ids", "attention_mask", "token_type_ids")
    assert (extractor.max_length, extractor.pad_id, extractor.dtype) == (64, 0, "float32")
    assert extractor.special_ids == (0, 2, 3, 4)  # not [UNK], which is 1
    assert extractor.vocab_size == open_tokenizer(tiny_extractor / "tokenizer.json").get_vocab_size()
    assert extractor.backends == ("onnxruntime",)
    assert extractor.graph_sha256["onnxruntime"] == sha256_file(tiny_extractor / "model.onnx")
    assert set(extractor.files) == {path.name for path in tiny_extractor.iterdir()} - {"extractor.json"}
    assert {"config.json", "tokenizer.json", "model.onnx"} <= set(extractor.files)
    assert set(extractor.versions) == {"python", *PACKAGES}
    assert all(extractor.versions[name] == metadata.version(name) for name in PACKAGES)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "extractor.json"])
def test_a_git_lfs_pointer_is_called_one(name: str, copy: Path) -> None:
    (copy / name).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    with pytest.raises(ExtractorError, match=f"{name}: is a Git LFS pointer, .*'git lfs pull' in {copy}"):
        open_extractor(copy)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "config.json"])
def test_a_changed_or_missing_file_is_named(name: str, copy: Path) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(ExtractorError, match=rf"{name}: the content does not match.*amix export"):
        open_extractor(copy)
    (copy / name).unlink()
    with pytest.raises(ExtractorError, match=rf"{name}: cannot be read.*amix export"):
        open_extractor(copy)


def test_a_damaged_record_is_refused(copy: Path) -> None:
    record = copy / "extractor.json"
    whole = record.read_bytes()
    record.write_bytes(whole.replace(b'"pad_id":0', b'"pad_id":1'))
    with pytest.raises(ExtractorError, match="does not match its own sha256"):
        open_extractor(copy)
    record.write_bytes(whole[:100])
    with pytest.raises(ExtractorError, match="not JSON"):
        open_extractor(copy)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExtractorError, match=r"no extractor\.json\. Name a folder that 'amix export' wrote"):
        open_extractor(tmp_path)
    with pytest.raises(ExtractorError, match="no such folder"):
        open_extractor(tmp_path / "absent")


def test_another_format_version_and_missing_fields_are_refused(copy: Path) -> None:
    rewrite(copy, format_version=2)
    with pytest.raises(ExtractorError, match="has format version 2, this amix reads 1"):
        open_extractor(copy)
    rewrite(copy, format_version=1)
    leave_out(copy, "heads")
    with pytest.raises(ExtractorError, match="the field 'heads' is missing"):
        open_extractor(copy)


@pytest.mark.parametrize(
    "change",
    [
        {"heads": [[0]]},
        {"max_length": None},
        {"dtype": "float8"},
        {"relevance": "sent"},
        {"files": 7},
        {"parity": []},
        {"parity": {"onnxruntime": {"max_abs": "small", "relative_l2": 0.0}}},
        {"parity": {"onnxruntime": 0.1}},
        {"fidelity": {"texts": 1, "tokens": 2, "relative_l2": 0.1, "rank_correlation": 0.9}},
    ],
)
def test_a_malformed_field_is_an_extractor_error(change: dict[str, object], copy: Path) -> None:
    rewrite(copy, **change)
    with pytest.raises(ExtractorError, match=r"a field is malformed \(.*amix export"):
        open_extractor(copy)


def test_a_folder_written_before_fidelity_was_measured_still_opens(copy: Path) -> None:
    leave_out(copy, "fidelity")
    assert open_extractor(copy).fidelity is None


@pytest.mark.parametrize("name", ["../outside.bin", "/etc/hostname", "sub/model.onnx", ".."])
def test_a_record_cannot_name_files_outside_its_folder(name: str, copy: Path) -> None:
    rewrite(copy, files={**open_extractor(copy).files, name: "0" * 64})
    with pytest.raises(ExtractorError, match="outside its folder"):
        open_extractor(copy)


def test_opening_imports_no_heavy_package(tiny_extractor: Path) -> None:
    code = (
        "import sys; from amix.engine.extractor.folder import open_extractor; open_extractor(sys.argv[1]);"
        "print({'torch', 'transformers', 'onnxruntime', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_extractor)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
