"""The Triton kernel against the definition: on a GPU, or in Triton's interpreter, which `make test-triton` brings."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from amix.engine.base.errors import DependencyError, ExportError, UsageError
from amix.engine.extractor.relevance import received
from amix.engine.extractor.session import open_session

triton = pytest.importorskip("triton", reason="needs the package triton: make test-triton")
IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # read when the kernel is imported
DEVICE = "cpu" if IS_INTERPRETED else "cuda"
pytestmark = [
    pytest.mark.skipif(
        not IS_INTERPRETED and not torch.cuda.is_available(),
        reason="needs a CUDA device, or make test-triton",
    ),
    *([] if IS_INTERPRETED else [pytest.mark.gpu]),
]

# Relative L2 that rounding of scores allows.
DTYPES = [
    (torch.float32, 1e-6),
    (torch.float16, 2e-3),
    pytest.param(
        *(torch.bfloat16, 2e-2),
        marks=pytest.mark.skipif(
            IS_INTERPRETED, reason="Triton's interpreter multiplies the bits of bfloat16 as integers"
        ),
    ),
]


def drawn(rows: int, tokens: int, width: int = 32, heads: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries and keys (B, H, T, D) that make attention uneven, and a mask of rows of different lengths."""
    generator = torch.Generator().manual_seed(tokens)
    query, key = (
        3 * torch.randn(rows, heads, tokens, width, generator=generator).to(DEVICE) for _ in range(2)
    )
    mask = torch.ones(rows, tokens, dtype=torch.int64, device=DEVICE)
    for row in range(1, rows):
        mask[row, max(1, tokens * (rows - row) // rows) :] = 0
    return query, key, mask


def expected(query: Tensor, key: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Relevance by the attention maps, in float64."""
    scores = scale * query.double() @ key.double().transpose(2, 3)
    maps = scores.masked_fill(mask[:, None, None, :] == 0, float("-inf")).softmax(dim=3)
    return received(maps, mask)


@pytest.mark.parametrize("tokens", [1, 2, 7, 63, 64, 65, 128, 200, 512])
def test_relevance_equals_that_of_the_maps_whatever_the_length(tokens: int) -> None:
    from amix.engine.extractor.kernel import received_from

    query, key, mask = drawn(2, tokens)
    found = received_from(query, key, mask, 0.2)
    torch.testing.assert_close(found, expected(query, key, mask, 0.2), rtol=1e-5, atol=1e-5)
    assert found.dtype == torch.float32
    assert not found[1, :, mask[1] == 0].any()
    torch.testing.assert_close(
        found.sum(dim=2), mask.sum(dim=1).float()[:, None].expand(2, 2), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize(("dtype", "limit"), DTYPES)
def test_half_precision_rounds_what_comes_in_and_not_the_sums(dtype: torch.dtype, limit: float) -> None:
    from amix.engine.extractor.kernel import received_from

    query, key, mask = (each.to(dtype) if each.is_floating_point() else each for each in drawn(2, 96))
    found, wanted = received_from(query, key, mask, 0.2), expected(query, key, mask, 0.2)
    assert found.dtype == torch.float32
    assert float((found - wanted).norm() / wanted.norm()) < limit


@pytest.mark.parametrize("width", [8, 20, 64, 80])
def test_heads_of_any_width(width: int) -> None:
    from amix.engine.extractor.kernel import received_from

    query, key, mask = drawn(1, 40, width)
    torch.testing.assert_close(
        received_from(query, key, mask, 0.1), expected(query, key, mask, 0.1), rtol=1e-5, atol=1e-5
    )


def test_layouts_as_models_make_them() -> None:
    from amix.engine.extractor.kernel import received_from

    query, key, mask = drawn(2, 24)
    transposed = [each.transpose(1, 2).contiguous().transpose(1, 2) for each in (query, key)]
    wanted = expected(query, key, mask, 0.2)
    for one, other in ((transposed[0], transposed[1]), (query, transposed[1])):
        torch.testing.assert_close(received_from(one, other, mask, 0.2), wanted, rtol=1e-5, atol=1e-5)


def test_a_row_without_a_real_token_receives_nothing_and_harms_no_other() -> None:
    from amix.engine.extractor.kernel import received_from

    query, key, mask = drawn(2, 16)
    mask[1] = 0
    found = received_from(query, key, mask, 0.2)
    assert not found[1].any()
    torch.testing.assert_close(found[:1], expected(query[:1], key[:1], mask[:1], 0.2), rtol=1e-5, atol=1e-5)


def test_the_backend_agrees_with_the_graph(tiny_extractor: Path) -> None:
    graph, fused = open_session(tiny_extractor), open_session(tiny_extractor, backend="triton", device=DEVICE)
    ids = np.random.default_rng(0).integers(5, 60, (3, 40))
    mask = np.ones_like(ids)
    mask[1, 20:], mask[2, 1:] = 0, 0
    types = np.zeros_like(ids)
    types[0, 10:] = 1
    wanted = graph.run(ids, mask, types)
    found = fused.run(ids, mask, types)
    assert np.linalg.norm(found - wanted) / np.linalg.norm(wanted) < 1e-5
    assert not found[mask[:, None].repeat(4, axis=1) == 0].any()
    alone = fused.run(ids[:1], mask[:1], types[:1])
    np.testing.assert_allclose(alone, found[:1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta", "electra", "distilbert", "albert"])
def test_families_on_the_attention_interface(family: str, tmp_path: Path) -> None:
    from amix.engine.extractor.encoder import load_encoder
    from amix.engine.extractor.fused import FusedRelevance
    from tests.exporters.families import save_family

    encoder = load_encoder(str(save_family(tmp_path / family, family)))
    model = encoder.model
    layers = [0, model.config.num_hidden_layers - 1]
    fused = FusedRelevance(model, layers, torch.float32).to(DEVICE)
    fused.require_agreement(model, encoder.max_length)
    ids = torch.randint(5, model.config.vocab_size, (2, 17), device=DEVICE)
    found = fused(ids, torch.ones_like(ids))
    assert found.shape == (2, 2 * model.config.num_attention_heads, 17)
    torch.testing.assert_close(found.sum(dim=2), torch.full_like(found[:, :, 0], 17.0), rtol=1e-5, atol=0)


@pytest.mark.parametrize("family", ["mpnet", "deberta-v2"])
def test_a_family_whose_attention_is_more_than_queries_times_keys_is_refused(
    family: str, tmp_path: Path
) -> None:
    from amix.engine.extractor.encoder import load_encoder
    from amix.engine.extractor.fused import FusedRelevance
    from tests.exporters.families import save_family

    encoder = load_encoder(str(save_family(tmp_path / family, family)))
    with pytest.raises(ExportError, match="backend onnxruntime"):
        fused = FusedRelevance(encoder.model, [0], torch.float32).to(DEVICE)
        fused.require_agreement(encoder.model, encoder.max_length)


def test_local_attention_is_refused(tmp_path: Path) -> None:
    from transformers import ModernBertConfig, ModernBertModel

    from amix.engine.extractor.fused import FusedRelevance

    settings: dict[str, Any] = {  # Any: as the configuration takes them, each of its own type
        "vocab_size": 100,
        "hidden_size": 32,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 256,
        "local_attention": 8,
        "global_attn_every_n_layers": 2,
        "pad_token_id": 0,
        "initializer_range": 0.5,
    }
    config = ModernBertConfig(**settings)
    model = ModernBertModel._from_config(config, attn_implementation="eager").eval()
    with pytest.raises(ExportError, match="off by"):
        FusedRelevance(model, [0, 1], torch.float32).to(DEVICE).require_agreement(model, 256)


def test_without_a_gpu_it_is_refused(tiny_extractor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(UsageError, match="--device cuda"):
        open_session(tiny_extractor, backend="triton")


def test_without_triton_it_says_what_to_install(
    tiny_extractor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "triton", None)
    with pytest.raises(DependencyError, match="pip install triton"):
        open_session(tiny_extractor, backend="triton")


def test_the_kernel_has_another_identity_than_the_graph(tiny_extractor: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_extractor, tmp_path / "copy"))
    hashes = open_session(folder).extractor.graph_sha256
    assert hashes["triton"] == hashes["eager"] != hashes["onnxruntime"]
