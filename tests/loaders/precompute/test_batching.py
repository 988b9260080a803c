"""How large batches are: on a GPU by the encoder alone, and never larger than what a worker has asked for."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amix.engine.base.errors import DeviceError
from amix.engine.extractor.folder import Extractor, open_extractor
from amix.loaders.precompute import environment as environment_module
from amix.loaders.precompute.batching import GPU_TOKENS, Budget, gpu_bytes, length_batches
from amix.loaders.precompute.environment import environment
from amix.loaders.precompute.scheduler import local


@pytest.fixture(scope="module")
def extractor(tiny_extractor: Path) -> Extractor:
    return open_extractor(tiny_extractor)


def with_heads(extractor: Extractor, layers: int, heads: int) -> Extractor:
    return replace(extractor, heads=tuple((layer, head) for layer in range(layers) for head in range(heads)))


def test_the_processor_keeps_its_budget(extractor: Extractor) -> None:
    assert Budget.of(extractor, "cpu") == Budget() == Budget(tokens=2048, scores=2**18)
    assert Budget.of(with_heads(extractor, 12, 12), "cpu") == Budget()


def test_more_heads_get_smaller_batches_on_a_gpu(extractor: Extractor) -> None:
    base = with_heads(extractor, 12, 12)
    some = [Budget.of(each, "cuda").scores for each in (extractor, with_heads(extractor, 2, 12), base)]
    assert some == sorted(some, reverse=True)
    half = Budget.of(replace(base, dtype="float16"), "cuda")
    assert half.scores > Budget.of(base, "cuda").scores
    # A text of 512 tokens has 151 MB of maps in a base-size encoder: some twenty of them in a batch.
    assert 16 <= Budget.of(base, "cuda").scores // 512**2 <= 28
    # Without maps in memory the limit is that of tokens.
    assert Budget.of(base, "cuda", "triton").largest(512) == ((GPU_TOKENS // 512, 512),)


@given(
    st.lists(st.integers(1, 96), min_size=1, max_size=200),
    st.integers(64, 2048),
    st.integers(256, 2**15),
)
def test_no_batch_is_larger_than_the_largest(lengths: list[int], tokens: int, scores: int) -> None:
    budget = Budget(tokens=tokens, scores=scores)
    shapes = budget.largest(96)
    for batch in length_batches(lengths, budget):
        rows, longest = len(batch), max(lengths[position] for position in batch)
        assert rows * longest <= max(each * length for each, length in shapes)
        assert rows * longest**2 <= max(each * length**2 for each, length in shapes)


def test_a_worker_needs_less_with_what_the_message_names(extractor: Extractor) -> None:
    base = with_heads(extractor, 12, 12)

    def need(each: Extractor, max_length: int = 512) -> int:
        return gpu_bytes(each, Budget.of(base, "cuda"), max_length)

    assert need(base) > need(base, 128)
    assert need(base) > need(with_heads(extractor, 2, 12))
    assert need(base) > need(replace(base, dtype="float16"))


def test_a_gpu_without_room_is_refused_with_what_helps(
    extractor: Extractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    need = gpu_bytes(extractor, Budget.of(extractor, "cuda"), 64)
    free = {0: 2 * need, 1: need - 1, 2: None}
    monkeypatch.setattr(local, "free_bytes", free.get)
    local.require_room(need, 64, ("cuda:0",), 2)
    local.require_room(need, 64, ("cuda:2", "cuda:0"), 2)  # nothing is known of the one
    local.require_room(need, 64, ("cpu",), 64)
    with pytest.raises(DeviceError, match=r"cuda:0 has .* GB free, .* in each of 3 workers\. .*--workers"):
        local.require_room(need, 64, ("cuda:0",), 3)
    with pytest.raises(
        DeviceError, match=r"cuda:1 has .* up to 64 tokens .*--max-length.*--layers.*--dtype float16"
    ):
        local.require_room(need, 64, ("cuda:0", "cuda:1"), 1)


def test_what_decides_the_last_bits_on_a_gpu_is_recorded(
    extractor: Extractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {0: "A, compute capability 9.0", 1: "B, compute capability 8.0", 2: None}
    monkeypatch.setattr(environment_module, "gpu_model", names.get)
    budget = Budget.of(extractor, "cuda")
    found = environment("onnxruntime", ("cuda:1", "cuda:0"), budget)
    assert found["gpu"] == "A, compute capability 9.0 and B, compute capability 8.0"
    assert (found["device"], found["tf32"]) == ("cuda", "off")
    assert found["batches"] == f"{budget.tokens} tokens, {budget.scores} scores"
    assert environment("torchscript", ("cuda:2",), budget)["gpu"] == "unknown"
    on_cpu = environment("onnxruntime", ("cpu",), Budget())
    assert set(on_cpu) == {"tokenizers", "runtime", "device", "instructions"}
