"""Every supported family: exported, compared, and right in plain onnxruntime."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tokenizers import Tokenizer

from amix.engine.errors import ExportError
from amix.engine.sessions import open_session
from amix.exporters.export import export
from tests.exporters.families import FAMILIES, UNREADABLE, save, save_family

CAPTURED = {"distilbert", "albert"}  # to .pt2 as well
# BERT itself is the tests' tiny extractor: see test_export.py and tests/engine/test_sessions.py.


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "bert"])
def test_family_exports_with_parity_and_rows_that_sum_to_the_tokens(family: str, tmp_path: Path) -> None:
    encoder = save_family(tmp_path / family, family)
    # One layer of the two: capturing a layer for ONNX takes seconds, and the next test compares them all.
    formats = ("onnx", "pt2") if family in CAPTURED else ("onnx",)

    extractor = export(str(encoder), tmp_path / "out", layers=[0], formats=formats)

    assert extractor.model_type == family
    assert extractor.heads == ((0, 0), (0, 1))
    assert extractor.max_length == FAMILIES[family][2]
    assert all(extractor.parity[backend]["max_abs"] < 1e-4 for backend in extractor.backends)

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

    longest = np.full((1, extractor.max_length), 50, np.int64)  # the last usable position really is usable
    found = open_session(tmp_path / "out").run(longest, np.ones_like(longest))
    np.testing.assert_allclose(found.sum(axis=2), extractor.max_length, rtol=1e-5)


@pytest.mark.parametrize("family", [*FAMILIES, "albert in groups"])
@pytest.mark.parametrize("kind", ["received", "cls"])
def test_all_layers_of_a_cut_model_agree_with_the_whole_one(family: str, kind: str, tmp_path: Path) -> None:
    more = {"num_hidden_layers": 4} if family != "distilbert" else {"n_layers": 4}
    if family == "albert in groups":
        family, more = "albert", {**more, "num_hidden_groups": 2}
    encoder = save_family(tmp_path / family, family, **more)

    extractor = export(
        str(encoder), tmp_path / "out", layers=[2, 0], relevance=kind, formats=("torchscript",)
    )

    assert extractor.heads == ((0, 0), (0, 1), (2, 0), (2, 1))
    assert extractor.relevance == kind
    assert extractor.parity["torchscript"]["max_abs"] < 1e-4


@pytest.mark.parametrize("family", UNREADABLE)
def test_a_model_without_readable_attention_is_refused_by_type(family: str, tmp_path: Path) -> None:
    encoder = save(tmp_path / family, *UNREADABLE[family])
    with pytest.raises(ExportError, match=rf"'{family}' gives no readable attention.*BERT, RoBERTa"):
        export(str(encoder), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == [family]
