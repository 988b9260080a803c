"""What runs on a card only: `pytest tests/gpu`.

AMIX_REHEARSE_GPU=1 runs these tests on the CPU, as far as it can: what is wrong with a test is better found there.
"""

import os
from pathlib import Path

import pytest

from tests.shared import SharedFolders
from tests.tinybert import write_tokenizer

REHEARSAL = "AMIX_REHEARSE_GPU" in os.environ


@pytest.fixture(scope="session", autouse=True)
def device() -> str:
    """The device of every test here; without a card they are skipped before anything else is made for them."""
    if REHEARSAL:
        return "cpu"
    import torch

    try:
        import onnxruntime
    except ImportError:
        pytest.skip("needs a CUDA device")
    if not torch.cuda.is_available() or "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("needs a CUDA device")
    return "cuda"


@pytest.fixture
def card(device: str) -> str:
    """The device, for what a rehearsal cannot do."""
    if device == "cpu":
        pytest.skip("needs a CUDA device, also to rehearse")
    return device


@pytest.fixture(scope="session")
def broad_bert(shared: SharedFolders) -> Path:
    """A BERT with random weights, large enough for real batches: 3 layers, 4 heads, width 64, 512 positions."""

    def build(folder: Path) -> None:
        import torch
        from transformers import BertConfig, BertModel

        config = BertConfig(
            vocab_size=write_tokenizer(folder, max_length=512),
            hidden_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=128,
            max_position_embeddings=512,
            initializer_range=0.1,
            pad_token_id=0,
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = BertModel(config)
        model.save_pretrained(folder)

    return shared.make("broad-bert", build)
