"""What an export leaves behind, and what it refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
import transformers

from amix.engine.base.errors import ExportError, UsageError
from amix.engine.extractor.encoder import load_encoder
from amix.engine.extractor.folder import Extractor, RelevanceKind
from amix.engine.extractor.module import RelevanceModule
from amix.exporters import export as module
from amix.exporters import onnx as onnx_writer
from amix.exporters.export import export
from amix.exporters.options import ExportOptions
from tests.exporters.families import SMALL, save
from tests.hubcache import COMMIT, offline

OLD_TRANSFORMERS = int(transformers.__version__.partition(".")[0]) < 5


def nodes(folder: Path) -> list[str]:
    return [node.op_type for node in onnx.load(folder / "model.onnx").graph.node]


def attentions(operators: list[str]) -> int:
    """Layers of two heads: a softmax each, or a choice for every head (test_headwise.py)."""
    return operators.count("Softmax") + operators.count("If") // 2


@pytest.fixture(scope="module")
def first(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Extractor:
    """Layer 0 alone, in every format."""
    out = tmp_path_factory.mktemp("first") / "extractor"
    return export(str(tiny_bert), out, ExportOptions(layers=[0], formats=("onnx", "torchscript", "pt2")))


def test_layer_0_ends_with_its_attention(first: Extractor, tiny_extractor: Path) -> None:
    assert first.heads == ((0, 0), (0, 1))
    small, whole = nodes(first.folder), nodes(tiny_extractor)
    assert attentions(small) == 1
    assert attentions(whole) == 2
    assert not {"Gelu", "Erf"} & set(small)  # the feed-forward part comes after the attention
    # That of the embeddings is where the tables are.
    assert small.count("LayerNormalization") == (1 if OLD_TRANSFORMERS else 0)
    weights = {tensor.name for tensor in onnx.load(first.folder / "model.onnx").graph.initializer}
    assert not any("value" in name or "intermediate" in name or "output" in name for name in weights)

    program = torch.export.load(first.folder / "model.pt2")
    assert not any(
        "value" in name or "intermediate" in name or "output" in name for name in program.state_dict
    )

    # The embeddings and two projections in float32, and little else; in the ONNX graph embeddings, centred and times
    # each projection, with a row for each position and type.
    parameters = 4 * (first.vocab_size + 64 + 2 + 2) * 16 + 4 * 2 * (16 * 16 + 16)
    looked_up = 4 * 3 * (first.vocab_size + 64 * 2) * 16
    for name, least, overhead in (
        ("model.onnx", parameters if OLD_TRANSFORMERS else looked_up, 20_000),
        ("model.torchscript.pt", parameters, 60_000),
        ("model.pt2", parameters, 200_000),
    ):
        assert least <= (first.folder / name).stat().st_size < least + overhead


def test_the_graph_and_the_fingerprint_know_no_path_and_no_time(
    tiny_bert: Path, first: Extractor, tmp_path: Path
) -> None:
    elsewhere = shutil.copytree(tiny_bert, tmp_path / "moved")
    again = export(str(elsewhere), tmp_path / "again", ExportOptions(layers=[0]))
    assert again.fingerprint == first.fingerprint
    assert again.graph_sha256["onnxruntime"] == first.graph_sha256["onnxruntime"]
    assert again.model == str(elsewhere)
    assert b".py" not in (tmp_path / "again" / "model.onnx").read_bytes()


def test_fingerprint_follows_what_changes_the_numbers(tiny_bert: Path, tmp_path: Path) -> None:
    def made(name: str, **options: Any) -> str:  # Any: options of every type
        return export(
            str(tiny_bert), tmp_path / name, ExportOptions(formats=("torchscript",), **options)
        ).fingerprint

    prints = [
        made("all"),
        made("cls", relevance="cls"),
        made("first", layers=[0]),
        made("half", dtype="float16"),
    ]
    assert len(set(prints)) == 4


def test_the_tokenizer_is_stored_without_truncation_and_padding(tiny_bert: Path, tmp_path: Path) -> None:
    source = shutil.copytree(tiny_bert, tmp_path / "cutting")
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    tokenizer["truncation"] = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    (source / "tokenizer.json").write_text(json.dumps(tokenizer))

    plain = export(str(tiny_bert), tmp_path / "plain", ExportOptions(formats=("torchscript",)))
    extractor = export(str(source), tmp_path / "out", ExportOptions(formats=("torchscript",)))

    stored = json.loads((tmp_path / "out" / "tokenizer.json").read_text())
    assert stored["truncation"] is None
    assert stored["padding"] is None
    assert extractor.tokenizer_fingerprint == plain.tokenizer_fingerprint


@pytest.mark.parametrize("head", ["BertForSequenceClassification", "BertForMaskedLM"])
def test_any_head_on_top_gives_the_same_encoder(head: str, tiny_bert: Path, tmp_path: Path) -> None:
    plain = load_encoder(str(tiny_bert))
    source = shutil.copytree(tiny_bert, tmp_path / "headed")
    getattr(transformers, head).from_pretrained(tiny_bert).save_pretrained(source)
    assert load_encoder(str(source)).weights_sha256 == plain.weights_sha256


def test_half_precision_keeps_float32_sums(tiny_bert: Path, tmp_path: Path) -> None:
    report = export(str(tiny_bert), tmp_path / "half", ExportOptions(layers=[0], dtype="float16")).parity
    assert 0 < report.graphs["onnxruntime"].relative_l2 < 5e-3


def test_int8_reports_its_own_fidelity(tiny_bert: Path, tmp_path: Path) -> None:
    extractor = export(str(tiny_bert), tmp_path / "int8", ExportOptions(layers=[0], dtype="int8"))
    assert 1e-3 < extractor.parity.graphs["onnxruntime"].relative_l2 < 0.5
    assert extractor.fidelity is not None
    assert 1e-3 < extractor.fidelity.relative_l2.median < 0.5
    assert {"MatMulInteger", "DynamicQuantizeLinear"} <= set(nodes(tmp_path / "int8"))


def test_weights_past_the_limit_of_one_file_are_shipped_and_hashed_beside_it(
    tiny_bert: Path, tiny_extractor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_captured_before(program: object, names: object, path: Path, opset: object) -> int:
        onnx_writer._save(onnx.load(tiny_extractor / "model.onnx"), path)
        return 20

    monkeypatch.setattr(module, "capture", lambda *_: None)  # seconds, and the graph is there already
    monkeypatch.setattr(module, "write_onnx", as_captured_before)
    monkeypatch.setattr(onnx_writer, "EXTERNAL_FROM", 1000)
    extractor = export(str(tiny_bert), tmp_path / "out")
    assert {"model.onnx", "model.onnx.data"} <= set(extractor.files)
    assert extractor.parity.graphs["onnxruntime"].max_abs < 1e-4
    assert extractor.graph_sha256["onnxruntime"] != extractor.files["model.onnx"]


def test_the_commit_of_a_model_of_the_hub_is_recorded(tiny_bert: Path, tmp_path: Path) -> None:
    code = (
        "from amix.engine.extractor.encoder import load_encoder; "
        f"print(*(load_encoder('who/what', each).revision for each in (None, 'main', {COMMIT!r})))"
    )
    assert offline(tiny_bert, tmp_path, code).split() == [COMMIT] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": [0, 2]}, "layer 2 is not there; .* layers 0 to 1"),
        ({"layers": []}, "no layer given"),
        ({"opset": 11}, "--opset 11: give 18 to"),
        ({"dtype": "int8", "formats": ("onnx", "pt2")}, "int8 exists for --format onnx only"),
    ],
)
def test_impossible_options_are_usage_errors(
    options: dict[str, Any],  # Any: options of every type
    message: str,
    tiny_bert: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(UsageError, match=message):
        export(str(tiny_bert), tmp_path / "out", ExportOptions(**options))
    assert not (tmp_path / "out").exists()


def test_a_folder_has_no_revisions(tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--revision main: .* only models on the Hub have revisions"):
        export(str(tiny_bert), tmp_path / "out", revision="main")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_work_is_left_alone(tiny_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"already holds other work \(notes.txt\)"):
        export(str(tiny_bert), tmp_path / "out")
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_a_graph_that_disagrees_is_not_published(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_layer(
        encoder: transformers.PreTrainedModel,
        layers: list[int],
        kind: RelevanceKind,
        *,
        dtype: torch.dtype = torch.float32,
        cut: bool = True,
    ) -> RelevanceModule:
        return RelevanceModule(encoder, [1] if cut else layers, kind, dtype=dtype, cut=cut)

    monkeypatch.setattr(module, "RelevanceModule", other_layer)
    with pytest.raises(ExportError, match=r"differs from the encoder by .*not published"):
        export(str(tiny_bert), tmp_path / "out", ExportOptions(layers=[0], formats=("torchscript",)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        (("config.json",), "config.json is missing"),
        (("model.safetensors",), "weights .* is missing"),
        (("tokenizer.json", "vocab.txt"), "a tokenizer .* is missing"),
    ],
)
def test_an_incomplete_folder_is_refused_by_what_it_lacks(
    missing: tuple[str, ...], named: str, tiny_bert: Path, tmp_path: Path
) -> None:
    source = shutil.copytree(tiny_bert, tmp_path / "encoder")
    for name in missing:
        (source / name).unlink()
    with pytest.raises(ExportError, match=named):
        load_encoder(str(source))


def test_a_folder_in_the_working_directory_goes_by_its_name(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_bert, tmp_path / "encoder")
    monkeypatch.chdir(tmp_path)
    assert load_encoder("encoder").config.num_hidden_layers == 2


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        load_encoder(str(tmp_path / "absent"))
    with pytest.raises(ExportError, match=r"somebody/something: cannot be loaded .*Check the Hub id"):
        load_encoder("somebody/something")


def test_weights_that_are_not_there_are_never_drawn_at_random(tiny_bert: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    source = shutil.copytree(tiny_bert, tmp_path / "encoder")
    weights = load_file(source / "model.safetensors")
    dropped = next(name for name in weights if "layer.0" in name and "query.weight" in name)
    del weights[dropped]
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExportError, match=r"lacks 1 of the encoder's weights .*query.weight"):
        load_encoder(str(source))


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path: Path) -> None:
    source = save(tmp_path / "encoder", "BertConfig", {**SMALL, "max_position_embeddings": 64})
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["##zzzz"] = 5000
    (source / "tokenizer.json").write_text(json.dumps(tokenizer))
    (source / "vocab.txt").unlink()
    with pytest.raises(ExportError, match="largest id is 5000"):
        load_encoder(str(source))
