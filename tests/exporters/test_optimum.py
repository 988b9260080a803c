"""An extractor written by Optimum: the same as the direct one, in both directions. Needs attentionmix[optimum]."""

import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from amix.cli import main
from amix.engine.base.errors import UsageError
from amix.engine.base.installing import install
from amix.engine.extractor.folder import open_extractor
from amix.engine.extractor.runner import Ids
from amix.engine.extractor.session import open_session
from amix.engine.extractor.tokenizer import open_tokenizer
from amix.exporters.export import export
from amix.exporters.options import ExportOptions
from tests.exporters.families import save_family

needs_optimum = pytest.mark.skipif(
    find_spec("optimum") is None or find_spec("optimum.onnxruntime") is None,
    reason="optimum-onnx is not installed; 'make test-optimum' runs this",
)

TEXTS = ["The film is warm.", "bad", "A story that goes nowhere, slowly, twice!"]


def amix(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def batch_of(folder: Path) -> dict[str, Ids]:
    """Return TEXTS as the graph's inputs, padded."""
    encodings = open_tokenizer(folder / "tokenizer.json").encode_batch(TEXTS)
    ids, mask, types = np.zeros((3, len(TEXTS), 40), np.int64)
    for row, encoding in enumerate(encodings):
        count = len(encoding.ids)
        ids[row, :count], mask[row, :count] = encoding.ids, 1
        types[row, count // 2 : count] = 1  # a pair's second half, so that the input matters
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    return {name: inputs[name] for name in open_extractor(folder).inputs}


def signature(folder: Path) -> dict[str, list[object]]:
    """Return type and axes of every input and output of the graph."""
    graph = onnx.load(folder / "model.onnx").graph
    tensors = {value.name: value.type.tensor_type for value in (*graph.input, *graph.output)}
    return {
        name: [tensor.elem_type, *(dim.dim_param or dim.dim_value for dim in tensor.shape.dim)]
        for name, tensor in tensors.items()
    }


@pytest.fixture(scope="module")
def through_optimum(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The extractor of `tiny_bert`, as `tiny_extractor` but written by Optimum, by the command."""
    out = tmp_path_factory.mktemp("optimum") / "extractor"
    done = amix("export", tiny_bert, out, "--via", "optimum", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["parity"]["onnxruntime"]["max_abs"] < 1e-4
    return out


@needs_optimum
def test_the_extractor_is_the_direct_one(through_optimum: Path, tiny_extractor: Path) -> None:
    names = [sorted(path.name for path in folder.iterdir()) for folder in (through_optimum, tiny_extractor)]
    assert names[0] == names[1]
    for name in set(names[0]) - {"model.onnx", "extractor.json"}:
        assert (through_optimum / name).read_bytes() == (tiny_extractor / name).read_bytes()

    found, direct = (
        json.loads((folder / "extractor.json").read_text()) for folder in (through_optimum, tiny_extractor)
    )
    assert set(found["versions"]) - set(direct["versions"]) == {"optimum", "optimum-onnx"}
    differing = {key for key in direct if found[key] != direct[key]}
    assert differing <= {"versions", "files", "sha256", "parity"}  # parity: a measured difference, of 1e-6
    assert found.keys() == direct.keys()
    assert found["fingerprint"] == direct["fingerprint"]
    assert signature(through_optimum) == signature(tiny_extractor)


@needs_optimum
def test_relevance_is_the_direct_one(through_optimum: Path, tiny_extractor: Path) -> None:
    inputs = batch_of(tiny_extractor)
    np.testing.assert_allclose(
        open_session(through_optimum).run(**inputs), open_session(tiny_extractor).run(**inputs), atol=1e-5
    )


@needs_optimum
@pytest.mark.parametrize("made_by", ["through_optimum", "tiny_extractor"])
def test_optimum_opens_either_extractor(made_by: str, request: pytest.FixtureRequest) -> None:
    import torch
    from optimum.onnxruntime import ORTModelForCustomTasks

    folder = request.getfixturevalue(made_by)
    inputs = batch_of(folder)

    model = ORTModelForCustomTasks.from_pretrained(folder)
    outputs = model(**{name: torch.from_numpy(value) for name, value in inputs.items()})

    assert list(outputs) == ["relevance"]
    np.testing.assert_array_equal(outputs["relevance"].numpy(), open_session(folder).run(**inputs))


@needs_optimum
def test_layer_0_ends_with_its_attention_and_holds_no_path(tiny_bert: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(tiny_bert, tmp_path / "moved")
    first, again = (
        export(str(source), tmp_path / name, ExportOptions(layers=[0], via="optimum", opset=18))
        for source, name in ((tiny_bert, "first"), (elsewhere, "again"))
    )
    assert first.graph_sha256["onnxruntime"] == again.graph_sha256["onnxruntime"]
    assert first.opset == 18
    graph = onnx.load(first.folder / "model.onnx").graph
    assert [node.op_type for node in graph.node].count("Softmax") == 1
    assert not any("value" in tensor.name or "intermediate" in tensor.name for tensor in graph.initializer)
    assert b".py" not in (first.folder / "model.onnx").read_bytes()


@needs_optimum
@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("roberta", {"dtype": "float16"}),
        ("distilbert", {"dtype": "int8"}),
        ("albert", {"relevance": "cls"}),
        ("deberta-v2", {}),
        ("modernbert", {}),
        ("gpt2", {}),  # decoders: with transformers 4.57 this is the only way
        ("mistral", {}),
    ],
)
def test_other_families_and_options(
    family: str,
    options: dict[str, Any],  # Any: options of every type
    tmp_path: Path,
) -> None:
    encoder = save_family(tmp_path / family, family)
    found = export(str(encoder), tmp_path / "out", ExportOptions(layers=[0], via="optimum", **options))
    assert open_extractor(tmp_path / "out") == found  # every file is listed, and none was left over
    assert {path.name for path in found.folder.iterdir()} == {*found.files, "extractor.json"}
    assert found.parity.graphs["onnxruntime"].relative_l2 < (0.5 if found.dtype == "int8" else 5e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formats": ("onnx", "pt2")}, "--format pt2: Optimum writes onnx only"),
        ({"formats": ("torchscript",)}, "--format torchscript: Optimum writes onnx only"),
        ({"opset": 21}, "--opset 21: give 18 to 20 with --via optimum"),
        ({"via": "tf"}, "--via tf: unknown. Choose from direct, optimum"),
    ],
)
def test_impossible_combinations_are_usage_errors(
    options: dict[str, Any],  # Any: options of every type
    message: str,
    tiny_bert: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(UsageError, match=message):
        export(str(tiny_bert), tmp_path / "out", ExportOptions(**{"via": "optimum", **options}))
    assert not (tmp_path / "out").exists()


def test_without_optimum_the_extra_is_named(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "optimum"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optimum", None)  # what import finds where nothing is installed
    done = amix("export", tiny_bert, tmp_path / "out", "--via", "optimum")
    assert done.exit_code == 1
    assert install("optimum") in done.stderr
    assert "Traceback" not in done.output
    assert not (tmp_path / "out").exists()
