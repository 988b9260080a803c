"""Sessions on a card: the numbers of the CPU, or a refusal, never another device."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from amix.engine.base.errors import DeviceError
from amix.engine.extractor.folder import Backend, Dtype
from amix.engine.extractor.runner import Batch, Relevance
from amix.engine.extractor.session import open_session
from amix.loaders.precompute.run import PrecomputeOptions, precompute
from tests.conftest import write_jsonl
from tests.shared import SharedFolders

# What a library of another version warns of is no reason to spend time on a card twice.
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

SHAPES = ((1, 1), (2, 9), (64, 16), (7, 100), (33, 128), (8, 512), (1, 512), (300, 8))


def batches(vocab_size: int) -> list[Batch]:
    draw = np.random.default_rng(0)
    found = []
    for count, tokens in SHAPES:
        ids = draw.integers(5, vocab_size, (count, tokens))
        mask = (np.arange(tokens) < draw.integers(1, tokens + 1, (count, 1))).astype(np.int64)
        found.append(Batch(ids * mask, mask, draw.integers(0, 2, (count, tokens))))
    return found


def extractor_of(shared: SharedFolders, model: Path, dtype: Dtype, *formats: str) -> Path:
    """Return an extractor of all heads of `model`, made once."""
    from amix.exporters.export import export
    from amix.exporters.options import ExportOptions

    name = "-".join(["gpu", model.name, dtype, *formats])
    options = ExportOptions(dtype=dtype, formats=formats or ("onnx",))  # type: ignore[arg-type]  # names of graphs
    return shared.make(name, lambda folder: export(str(model), folder, options))


def relative(found: Relevance, expected: Relevance) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_card_gives_the_numbers_of_the_cpu(
    dtype: Dtype, device: str, broad_bert: Path, shared: SharedFolders
) -> None:
    folder = extractor_of(shared, broad_bert, dtype)
    on_cpu, on_card = open_session(folder), open_session(folder, device=device)
    assert on_card.device == ("cuda:0" if device == "cuda" else device)
    for batch in batches(on_cpu.extractor.vocab_size):
        expected, found = on_cpu.run(*batch), on_card.run(*batch)
        assert found.dtype == np.float32
        assert (found[np.broadcast_to(batch.attention_mask[:, None] == 0, found.shape)] == 0).all()
        # Whatever was rounded, a head's relevance adds up to the number of tokens.
        counts = batch.attention_mask.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(
            found.sum(axis=2),
            np.broadcast_to(counts, found.shape[:2]),
            rtol=1e-5 if dtype == "float32" else 2e-3,
        )
        if dtype == "float32":
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
        else:
            assert relative(found, expected) < 1e-3


def test_a_stream_gives_what_runs_give(device: str, broad_bert: Path, shared: SharedFolders) -> None:
    session = open_session(extractor_of(shared, broad_bert, "float32"), device=device)
    given = batches(session.extractor.vocab_size) * 3
    expected = [session.run(*batch) for batch in given]
    answers = list(session.stream(enumerate(given)))
    assert [answer.tag for answer in answers] == list(range(len(given)))
    for answer, relevance_BHT in zip(answers, expected, strict=True):  # when all of them have been run
        assert answer.relevance is not None
        np.testing.assert_array_equal(answer.relevance, relevance_BHT)
    assert all(answer.seconds > 0 for answer in answers)


@pytest.mark.parametrize("backend", ["torchscript", "pt2", "eager"])
def test_the_backends_of_pytorch_agree_on_a_card(
    backend: Backend, device: str, tiny_bert: Path, shared: SharedFolders
) -> None:
    folder = extractor_of(shared, tiny_bert, "float32", "onnx", "torchscript", "pt2")
    on_cpu = open_session(folder)
    try:
        on_card = open_session(folder, device=device, backend=backend)
    except DeviceError as refusal:  # a graph that holds the device of its capture says so on opening
        assert backend in ("torchscript", "pt2")
        assert "Use the backend onnxruntime" in str(refusal)
        return
    for batch in batches(on_cpu.extractor.vocab_size):
        if batch.input_ids.shape[1] <= 64:
            np.testing.assert_allclose(on_card.run(*batch), on_cpu.run(*batch), rtol=0, atol=1e-4)


def test_a_card_that_is_not_there_is_refused(card: str, tiny_extractor: Path) -> None:
    with pytest.raises(DeviceError, match=r"cuda:99 was asked for.*--device cpu"):
        open_session(tiny_extractor, device="cuda:99")


def test_int8_is_refused_instead_of_run_on_the_cpu(tiny_bert: Path, shared: SharedFolders) -> None:
    with pytest.raises(DeviceError, match=r"int8 extractor, which runs on the CPU only.*--dtype float16"):
        open_session(extractor_of(shared, tiny_bert, "int8"), device="cuda")


def test_hidden_cards_are_refused_and_nothing_is_written(
    tiny_extractor: Path, tmp_path: Path, device: str
) -> None:
    corpus = write_jsonl(tmp_path / "rows.jsonl", [{"text": "a film", "label": 0}])
    done = subprocess.run(
        [sys.executable, "-m", "amix", "precompute", str(corpus), str(tmp_path / "out"), "--extractor",
         str(tiny_extractor), "--device", "cuda"],
        capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "cuda:0 was asked for, but" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@contextmanager
def hardly_any_memory(left: int) -> Iterator[None]:
    """Take the memory of the card but for `left` bytes."""
    import torch

    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    hog = torch.empty(free - left, dtype=torch.uint8, device="cuda")
    try:
        yield
    finally:
        del hog
        torch.cuda.empty_cache()


def test_no_memory_left_is_told_with_what_helps(card: str, broad_bert: Path, shared: SharedFolders) -> None:
    session = open_session(extractor_of(shared, broad_bert, "float32"), device=card)
    small = Batch(*(np.full((2, 8), value) for value in (50, 1, 0)))
    large = Batch(*(np.full((256, 512), value) for value in (50, 1, 0)))  # maps of 1 GB in a layer
    session.run(*small)
    says = r"cuda:0 has no memory left.* for a batch of 256 texts of 512 tokens\. .*--max-length.*--layers"
    with hardly_any_memory(300 * 2**20):
        with pytest.raises(DeviceError, match=says):
            session.run(*large)
        answers = session.stream([("small", small), ("large", large)])
        assert next(answers).tag == "small"
        with pytest.raises(DeviceError, match=says):
            next(answers)
    assert session.run(*large).shape == (256, 12, 512)


def test_a_run_that_would_not_fit_is_refused_before_it_begins(
    card: str, tiny_extractor: Path, tmp_path: Path
) -> None:
    corpus = write_jsonl(tmp_path / "rows.jsonl", [{"text": "a film", "label": 0}])
    # A session of this process is opened first, and takes little.
    with (
        hardly_any_memory(600 * 2**20),
        pytest.raises(DeviceError, match=r"cuda:0 has .* GB free.*--max-length"),
    ):
        precompute(
            str(corpus), tmp_path / "out", extractor=tiny_extractor, options=PrecomputeOptions(device=card)
        )
    assert not (tmp_path / "out").exists()


def test_doctor_starts_the_card(card: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "amix", "doctor", "--json"], capture_output=True, text=True, check=False
    )
    report = json.loads(done.stdout.splitlines()[-1])
    assert "CUDAExecutionProvider" in report["providers"], report
    assert report["gpus"]
    assert float(report["driver_cuda"]) >= 12
