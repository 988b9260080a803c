"""Projections that are looked up are those that are computed.

Axes: B batch, T tokens, D width.
"""

from pathlib import Path

import onnx
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from amix.engine.extractor.encoder import load_encoder
from amix.exporters import lookup
from amix.exporters.export import export
from amix.exporters.lookup import tabulate
from amix.exporters.options import ExportOptions
from tests.exporters.families import save_family

WORDS = 50
OLD_TRANSFORMERS = int(transformers.__version__.partition(".")[0]) < 5


class Small(nn.Module):
    """What begins as encoders do. scale: of the words, by which some families break the rule."""

    def __init__(self, *, types: bool = True, bias: bool = True, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.positions = nn.Embedding(WORDS, 12), nn.Embedding(9, 12)
        self.types = nn.Embedding(2, 12) if types else None
        self.norm = nn.LayerNorm(12, eps=1e-3)
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.norm.bias)
        self.dropout = nn.Dropout(0.5)
        self.query, self.key = nn.Linear(12, 8, bias=bias), nn.Linear(12, 6)
        self.scale = scale
        self.eval()

    def forward(self, ids_BT: Tensor, mask_BT: Tensor, types_BT: Tensor | None = None) -> tuple[Tensor, ...]:
        sum_BTD = self.words(ids_BT) * self.scale + self.positions(torch.arange(ids_BT.shape[1])[None])
        if self.types is not None:
            sum_BTD = sum_BTD + self.types(torch.zeros_like(ids_BT) if types_BT is None else types_BT)
        normalised_BTD = self.dropout(self.norm(sum_BTD))
        return self.query(normalised_BTD), self.key(normalised_BTD), normalised_BTD


@given(data=st.data(), types=st.booleans(), bias=st.booleans())
def test_what_is_looked_up_is_what_was_computed(data: st.DataObject, types: bool, bias: bool) -> None:
    plain, tabled = Small(types=types, bias=bias), Small(types=types, bias=bias)
    assert tabulate(tabled, tabled)
    shape = (data.draw(st.integers(1, 3)), data.draw(st.integers(1, 9)))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    ids_BT = torch.randint(WORDS, shape, generator=generator)
    types_BT = torch.randint(2, shape, generator=generator)
    for found, wanted in zip(tabled(ids_BT, ids_BT, types_BT), plain(ids_BT, ids_BT, types_BT), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_sum_of_anything_else_is_computed_as_before() -> None:
    network = Small(scale=2.0)
    assert not tabulate(network, network)
    assert isinstance(network.query, nn.Linear)


class Scaled(nn.Embedding):
    """What some families have in place of an embedding."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * 3


class Twice(Small):
    """What calls a module again, as where layers share their weights."""

    def __init__(self, again: str) -> None:
        super().__init__()
        self.again = again

    def forward(self, ids_BT: Tensor, mask_BT: Tensor, types_BT: Tensor | None = None) -> tuple[Tensor, ...]:
        query, key, normalised_BTD = super().forward(ids_BT, mask_BT, types_BT)
        module = getattr(self, self.again)
        return query, key, module(ids_BT % 2 if self.again == "types" else 2 * normalised_BTD)


@pytest.mark.parametrize("again", ["norm", "query", "types"])
def test_modules_that_are_called_again_are_left_alone(again: str) -> None:
    network = Twice(again)
    assert not tabulate(network, network)
    assert isinstance(network.query, nn.Linear)


def test_an_embedding_of_another_kind_is_left_alone() -> None:
    network = Small()
    network.words = Scaled(WORDS, 12)
    assert not tabulate(network, network)


@pytest.mark.parametrize("family", ["electra", "albert"])
def test_narrow_embeddings_are_left_alone(family: str, tmp_path: Path) -> None:
    network = load_encoder(str(save_family(tmp_path / "encoder", family))).model
    assert not tabulate(network, lambda ids_BT, mask_BT: network(input_ids=ids_BT, attention_mask=mask_BT))


def test_tables_that_would_be_too_large_are_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    width, rows = 12 + 8 + 6, WORDS + 9 * 2
    for limit, is_made in ((4 * width * rows, True), (4 * width * rows - 1, False)):
        monkeypatch.setattr(lookup, "_MOST_BYTES", limit)
        network = Small()
        assert tabulate(network, network) == is_made


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "mpnet", "xlm-roberta"])
def test_families_are_looked_up(family: str, tmp_path: Path) -> None:
    encoder = load_encoder(str(save_family(tmp_path / "encoder", family)))
    network = encoder.model

    def run(ids_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, ...]:
        return tuple(network(input_ids=ids_BT, attention_mask=mask_BT, output_attentions=True).attentions)

    ids_BT = torch.arange(4, 16).reshape(2, 6)
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[1, 4:] = 0
    with torch.no_grad():
        wanted = run(ids_BT, mask_BT)
        assert tabulate(network, run)
        for found_BHTT, wanted_BHTT in zip(run(ids_BT, mask_BT), wanted, strict=True):
            torch.testing.assert_close(found_BHTT, wanted_BHTT, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(OLD_TRANSFORMERS, reason="before version 5, families make masks of their own")
@pytest.mark.parametrize(("layers", "multiplies"), [((0,), False), ((0, 1), True)])
def test_only_more_than_layer_0_multiplies_with_weights(
    tiny_bert: Path, tmp_path: Path, layers: tuple[int, ...], multiplies: bool
) -> None:
    export(str(tiny_bert), tmp_path / "out", ExportOptions(layers=layers))
    graph = onnx.load(tmp_path / "out" / "model.onnx").graph
    weights = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 2}
    found = [node for node in graph.node if node.op_type in ("MatMul", "Gemm") and weights & {*node.input}]
    assert bool(found) == multiplies
