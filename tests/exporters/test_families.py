"""Every supported family: exported, compared, and right in plain onnxruntime."""

from pathlib import Path
from typing import get_args

import numpy as np
import onnxruntime
import pytest
import transformers
from tokenizers import Tokenizer

from amix.engine.base.errors import ExportError, UsageError
from amix.engine.extractor.folder import RelevanceKind
from amix.engine.extractor.session import open_session
from amix.exporters.export import export
from amix.exporters.options import ExportOptions, Format
from amix.exporters.parity import Probe, check
from tests.exporters.families import CAUSAL, FAMILIES, UNREADABLE, save, save_family

CAPTURED = {"distilbert", "albert"}  # to .pt2 as well
# One layer of the two: capturing a layer for ONNX takes seconds, and every layer is compared below.
LAYER = {"modernbert": 1}  # the one that attends within a window
OLD_TRANSFORMERS = int(transformers.__version__.partition(".")[0]) < 5
# Captured by the same code as another: Llama with a window, Flaubert's elder, BERT with places on a page.
TRACED = {"mistral", "xlm", "lilt", "layoutlm"}
LAYERS = {"distilbert": "n_layers", "gpt2": "n_layer", "flaubert": "n_layers", "xlm": "n_layers"}
# BERT itself is the tests' tiny extractor: see test_export.py and tests/engine/extractor/test_session.py.


@pytest.mark.parametrize("family", sorted({*FAMILIES} - {"bert"} - TRACED))
def test_family_exports_with_parity_and_rows_that_sum_to_the_tokens(family: str, tmp_path: Path) -> None:
    encoder = save_family(tmp_path / family, family)
    formats: tuple[Format, ...] = ("onnx", "pt2") if family in CAPTURED else ("onnx",)

    if family in CAUSAL and OLD_TRANSFORMERS:
        with pytest.raises(ExportError, match=r"a decoder \(.*with transformers 5"):
            export(str(encoder), tmp_path / "out", ExportOptions(formats=formats))
        return
    layer = LAYER.get(family, 0)
    extractor = export(str(encoder), tmp_path / "out", ExportOptions(layers=[layer], formats=formats))

    assert extractor.model_type == family
    assert extractor.heads == ((layer, 0), (layer, 1))
    assert extractor.max_length == FAMILIES[family][2]
    assert all(extractor.parity.graphs[backend].max_abs < 1e-4 for backend in extractor.backends)

    tokenizer = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    ids = tokenizer.encode("the film is warm, and I'd watch it again!").ids
    batch = np.full((2, len(ids) + 3), extractor.pad_id, np.int64)
    batch[0, : len(ids)], batch[1, :5] = ids, ids[:5]
    mask = (np.arange(batch.shape[1]) < np.array([[len(ids)], [5]])).astype(np.int64)
    feeds = {"input_ids": batch, "attention_mask": mask, "token_type_ids": np.zeros_like(batch)}
    plain = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx", providers=["CPUExecutionProvider"])
    assert tuple(node.name for node in plain.get_inputs()) == extractor.inputs
    assert plain.get_inputs()[0].shape == ["batch", "tokens"]

    (relevance,) = plain.run(["relevance"], {name: feeds[name] for name in extractor.inputs})

    assert relevance.shape == (2, 2, batch.shape[1])
    assert relevance.dtype == np.float32
    np.testing.assert_allclose(relevance.sum(axis=2), mask.sum(axis=1)[:, None].repeat(2, axis=1), rtol=1e-5)
    assert (relevance >= 0).all()
    assert (relevance[mask[:, None, :].repeat(2, axis=1) == 0] == 0).all()

    # Neither padding nor what else is in the batch has a say, also beyond a window of attention.
    for row, count in ((0, len(ids)), (1, 5)):
        alone = {name: feeds[name][row : row + 1, :count] for name in extractor.inputs}
        (expected,) = plain.run(["relevance"], alone)
        np.testing.assert_allclose(relevance[row : row + 1, :, :count], expected, atol=1e-5)

    session = open_session(tmp_path / "out")
    for count in (1, 2, extractor.max_length):  # the last usable position really is usable
        batch = np.full((1, count), 50, np.int64)
        found = session.run(batch, np.ones_like(batch))
        np.testing.assert_allclose(found.sum(axis=2), count, rtol=1e-5)


@pytest.mark.parametrize("family", [*FAMILIES, "albert in groups"])
@pytest.mark.parametrize("kind", get_args(RelevanceKind))
def test_all_layers_of_a_cut_model_agree_with_the_whole_one(
    family: str, kind: RelevanceKind, tmp_path: Path
) -> None:
    more: dict[str, object] = {LAYERS.get(family, "num_hidden_layers"): 4}
    if family == "albert in groups":
        family, more = "albert", {**more, "num_hidden_groups": 2}
    encoder = save_family(tmp_path / family, family, **more)
    if family in CAUSAL and OLD_TRANSFORMERS:
        return  # refused, as the test above checks
    if family in CAUSAL and kind == "cls":
        with pytest.raises(UsageError, match=r"--relevance cls: the first token of a decoder"):
            export(str(encoder), tmp_path / "out", ExportOptions(relevance=kind, formats=("torchscript",)))
        return

    extractor = export(
        str(encoder), tmp_path / "out", ExportOptions(layers=[2, 0], relevance=kind, formats=("torchscript",))
    )

    assert extractor.heads == ((0, 0), (0, 1), (2, 0), (2, 1))
    assert extractor.relevance == kind
    assert extractor.parity.graphs["torchscript"].max_abs < 1e-4


@pytest.mark.parametrize("family", UNREADABLE)
def test_a_model_without_readable_attention_is_refused_by_type(family: str, tmp_path: Path) -> None:
    config_class, settings, why = UNREADABLE[family]
    encoder = save(tmp_path / family, config_class, settings)
    with pytest.raises(ExportError, match=rf"'{family}' gives no readable attention: {why}.*BERT, RoBERTa"):
        export(str(encoder), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == [family]


def test_a_layer_with_as_many_parts_as_there_are_layers_keeps_them(tmp_path: Path) -> None:
    # Its layers have 3 feed-forward networks each.
    encoder = save_family(tmp_path / "mobilebert", "mobilebert", num_hidden_layers=3)
    options = ExportOptions(layers=[1], formats=("torchscript",))
    assert export(str(encoder), tmp_path / "out", options).parity.graphs["torchscript"].max_abs < 1e-4


def test_an_encoder_whose_attention_depends_on_the_padding_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    encoder = save_family(tmp_path / "mobilebert", "mobilebert")  # reads a token's neighbours with it
    weights = load_file(encoder / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][0] = 5.0
    save_file(weights, encoder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExportError, match="what a token receives depends on the padding behind its text"):
        export(str(encoder), tmp_path / "out", ExportOptions(formats=("torchscript",)))


def test_a_graph_that_fails_on_a_shape_is_refused_with_its_message(tiny_extractor: Path) -> None:
    ids = np.full((1, 4), 50, np.int64)
    probe = Probe(
        inputs={"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": 9 * ids},
        relevance_BHT=np.zeros((1, 4, 4), np.float32),
    )
    with pytest.raises(
        ExportError, match=r"\(onnxruntime\) cannot run 1 text of 4 tokens .*another --format"
    ):
        check(open_session(tiny_extractor), [probe])
