"""Attention written head by head: the numbers of a softmax, whatever the scores, and who gets it.

Axes: B batch, H heads, T tokens, D width of a head.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import transformers
from onnx import TensorProto, helper

from amix.engine.extractor.encoder import load_encoder
from amix.exporters.export import export
from amix.exporters.headwise import expand
from amix.exporters.openattention import NODE, OpenRelevance, Unsupported
from amix.exporters.options import ExportOptions
from tests.exporters.families import FAMILIES, save_family

HEADS, WIDTH = 3, 8
OLD_TRANSFORMERS = int(transformers.__version__.partition(".")[0]) < 5
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def attention() -> onnxruntime.InferenceSession:
    """One open node with values, expanded, as a graph of its own."""
    domain, _, operator = NODE.partition("::")
    tensor = helper.make_tensor_value_info
    inputs = [tensor(name, TensorProto.FLOAT, [None, HEADS, None, WIDTH]) for name in ("q", "k")]
    inputs += [tensor("m", TensorProto.FLOAT, [None, None])]
    inputs += [tensor("v", TensorProto.FLOAT, [None, HEADS, None, WIDTH])]
    outputs = [
        tensor(name, TensorProto.FLOAT, [None] * axes) for name, axes in (("relevance", 3), ("context", 4))
    ]
    node = helper.make_node(operator, ["q", "k", "m", "v"], ["relevance", "context"], domain=domain)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(domain, 1)]
    graph = helper.make_graph([node], "attention", inputs, outputs)
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    expand(model, HEADS)
    onnx.checker.check_model(model, full_check=True)
    assert [entry.domain for entry in model.opset_import] == [""]
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def drawn(texts: int, tokens: int, size: float) -> Arrays:
    """Inputs whose scores are about `size`; every text after the first is shorter."""
    generator = np.random.default_rng(tokens)
    arrays = {
        name: generator.standard_normal((texts, HEADS, tokens, WIDTH)).astype(np.float32)
        for name in ("q", "k", "v")
    }
    arrays["q"] *= np.float32(size / WIDTH**0.5)
    mask = np.ones((texts, tokens), np.float32)
    for text in range(1, texts):
        mask[text, max(1, tokens * (texts - text) // texts) :] = 0
    return {**arrays, "m": mask}


def expected(inputs: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Relevance and context by the maps, in float64."""
    query, key, value, mask = (torch.from_numpy(inputs[name]).double() for name in "qkvm")
    scores = (query @ key.transpose(2, 3)).masked_fill(mask[:, None, None, :] == 0, float("-inf"))
    maps = scores.softmax(dim=3)
    relevance = (mask[:, None, None, :] @ maps).squeeze(2) * mask[:, None, :]
    return relevance.numpy(), (maps @ value).numpy()


@pytest.mark.parametrize("size", [0.1, 5.0, 60.0, 300.0], ids=lambda size: f"scores of {size:g}")
@pytest.mark.parametrize(("texts", "tokens"), [(1, 1), (3, 2), (3, 37), (2, 512)])
def test_relevance_and_context_are_those_of_the_softmax(
    attention: onnxruntime.InferenceSession, size: float, texts: int, tokens: int
) -> None:
    inputs = drawn(texts, tokens, size)
    relevance, context = attention.run(["relevance", "context"], inputs)
    wanted, wanted_context = expected(inputs)
    # Scores in float32 are that far off before any exp.
    tolerance = 1e-5 * max(1.0, size)
    np.testing.assert_allclose(relevance, wanted, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(context, wanted_context, rtol=tolerance, atol=tolerance)
    sums = np.broadcast_to(inputs["m"].sum(axis=1)[:, None], (texts, HEADS))
    np.testing.assert_allclose(relevance.sum(axis=2), sums, rtol=1e-4)
    assert (relevance >= 0).all()
    assert not relevance[np.broadcast_to(inputs["m"][:, None] == 0, relevance.shape)].any()


def test_one_head_with_large_scores_leaves_the_others_as_they_are(
    attention: onnxruntime.InferenceSession,
) -> None:
    inputs = drawn(2, 40, 1.0)
    (before,) = attention.run(["relevance"], inputs)
    inputs["q"][:, 1] *= 5_000
    (after,) = attention.run(["relevance"], inputs)
    np.testing.assert_array_equal(after[:, [0, 2]], before[:, [0, 2]])
    np.testing.assert_allclose(after.sum(axis=2), before.sum(axis=2), rtol=1e-4)


@pytest.mark.parametrize("size", [1.0, 300.0])
def test_padding_and_company_have_no_say(attention: onnxruntime.InferenceSession, size: float) -> None:
    inputs = drawn(3, 30, size)
    inputs["k"][1:, :, 25:] *= 1_000  # padding that would be attended to
    (together,) = attention.run(["relevance"], inputs)
    for text in range(3):
        count = int(inputs["m"][text].sum())
        alone = {name: inputs[name][text : text + 1, :, :count] for name in ("q", "k", "v")}
        (found,) = attention.run(["relevance"], {**alone, "m": inputs["m"][text : text + 1, :count]})
        np.testing.assert_allclose(together[text, :, :count], found[0], rtol=1e-4 * size, atol=1e-5 * size)


def test_a_text_without_a_real_token_receives_nothing_and_harms_no_other(
    attention: onnxruntime.InferenceSession,
) -> None:
    inputs = drawn(2, 12, 3.0)
    inputs["m"][1] = 0
    relevance, context = attention.run(["relevance", "context"], inputs)
    assert not relevance[1].any()
    assert np.isfinite(context).all()
    np.testing.assert_allclose(relevance[0], expected(inputs)[0][0], rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(OLD_TRANSFORMERS, reason="before version 5, families make masks of their own")
@pytest.mark.parametrize(
    "family", ["bert", "roberta", "electra", "distilbert", "albert", "modernbert", "gpt2"]
)
def test_only_plain_attention_is_left_open(family: str, tmp_path: Path) -> None:
    encoder = load_encoder(str(save_family(tmp_path / family, family)))
    assert family in FAMILIES
    if family in ("modernbert", "gpt2"):  # windows, and what comes later
        with pytest.raises(Unsupported):
            OpenRelevance(encoder.model, [0, 1], encoder.max_length)
    else:
        OpenRelevance(encoder.model, [0, 1], encoder.max_length)


@pytest.mark.skipif(OLD_TRANSFORMERS, reason="before version 5, families make masks of their own")
def test_the_tiny_extractor_has_it(tiny_extractor: Path) -> None:
    operators = {node.op_type for node in onnx.load(tiny_extractor / "model.onnx").graph.node}
    assert "If" in operators
    assert "Softmax" not in operators


@pytest.mark.skipif(OLD_TRANSFORMERS, reason="before version 5, families make masks of their own")
def test_a_graph_for_gpus_has_no_branches(tiny_bert: Path, tmp_path: Path) -> None:
    export(str(tiny_bert), tmp_path / "out", ExportOptions(device="cuda", layers=[0]))
    operators = {node.op_type for node in onnx.load(tmp_path / "out" / "model.onnx").graph.node}
    assert "Softmax" in operators
    assert "If" not in operators
