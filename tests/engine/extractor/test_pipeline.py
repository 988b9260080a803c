"""The way of the GPU, on the processor: bound memory, and a pipeline that gives what a loop gives."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amix.engine.base.errors import DeviceError, UsageError
from amix.engine.extractor.devicememory import DeviceMemory, RuntimeMemory, TorchMemory, device_memory
from amix.engine.extractor.onnxsession import BoundRunner, session_options
from amix.engine.extractor.runner import Batch, Ids, Inputs, out_of_memory
from amix.engine.extractor.session import Session, open_session

MEMORIES: dict[str, Callable[[str, int], DeviceMemory]] = {"torch": TorchMemory, "onnxruntime": RuntimeMemory}


@pytest.fixture(scope="module")
def runtime(tiny_extractor: Path) -> Any:  # Any: onnxruntime has no types
    import onnxruntime

    graph = tiny_extractor / "model.onnx"
    return onnxruntime.InferenceSession(graph, session_options(1), ["CPUExecutionProvider"])


@pytest.fixture(params=MEMORIES)
def bound(request: pytest.FixtureRequest, runtime: Any) -> BoundRunner:  # Any: see `runtime`
    return BoundRunner(runtime, heads=4, device="cpu", memory=MEMORIES[request.param]("cpu", 0))


@pytest.fixture
def plain(tiny_extractor: Path) -> Session:
    return open_session(tiny_extractor, threads=1)


@pytest.fixture
def pipelined(plain: Session, bound: BoundRunner) -> Session:
    return Session(plain.extractor, plain.backend, plain.device, bound, threads=1)


def some_batches() -> list[Batch]:
    draw = np.random.default_rng(0)
    found = []
    for batch, tokens in ((2, 9), (5, 40), (1, 1), (3, 7), (40, 5), (1, 64), (5, 40)):
        ids = draw.integers(5, 100, (batch, tokens))
        mask = (np.arange(tokens) < draw.integers(1, tokens + 1, (batch, 1))).astype(np.int64)
        found.append(Batch(ids, mask, None if batch == 3 else 0 * ids))
    return found


def test_a_stream_gives_bit_for_bit_what_a_loop_gives(plain: Session, pipelined: Session) -> None:
    batches = some_batches()
    tagged = [("a unit", None), *enumerate(batches), ("another", None)]
    expected = [plain.run(*batch) for batch in batches]
    for session in (plain, pipelined):
        answers = list(session.stream(tagged))
        assert [answer.tag for answer in answers] == [tag for tag, _ in tagged]
        assert answers[0].relevance is answers[-1].relevance is None
        # All of them have been run by now.
        for answer, relevance_BHT in zip(answers[1:-1], expected, strict=True):
            assert answer.relevance is not None
            np.testing.assert_array_equal(answer.relevance, relevance_BHT)
            assert answer.relevance.dtype == np.float32
            assert answer.seconds > 0


def test_a_stream_works_ahead_by_a_few_batches_only(pipelined: Session) -> None:
    batch, taken = some_batches()[0], itertools.count(1)
    last = 0

    def source() -> Iterator[tuple[int, Batch]]:
        nonlocal last
        while True:
            last = next(taken)
            yield last, batch

    answers = pipelined.stream(source())
    assert next(answers).tag == 1
    deadline = time.monotonic() + 10
    while last < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)  # time enough to go further, if nothing stopped it
    assert 4 <= last <= 6  # in the three stages, and one between any two
    assert next(answers).tag == 2


def test_the_answers_before_a_wrong_batch_come_first(plain: Session, pipelined: Session) -> None:
    good = some_batches()[0]
    wrong = Batch(good.input_ids + 10**6, good.attention_mask, good.token_type_ids)
    for session in (plain, pipelined):
        answers = session.stream([(0, good), (1, good), (2, wrong), (3, good)])
        assert [next(answers).tag, next(answers).tag] == [0, 1]
        with pytest.raises(UsageError, match="but the vocabulary has"):
            next(answers)


def test_the_answers_before_an_error_of_the_source_come_first(pipelined: Session) -> None:
    def source() -> Iterator[tuple[int, Batch]]:
        yield 0, some_batches()[0]
        yield 1, some_batches()[1]
        raise ValueError("no more")

    answers = pipelined.stream(source())
    assert [next(answers).tag, next(answers).tag] == [0, 1]
    with pytest.raises(ValueError, match="no more"):
        next(answers)


def test_leaving_a_stream_ends_its_threads(pipelined: Session) -> None:
    before = set(threading.enumerate())
    batch = some_batches()[0]
    answers = pipelined.stream((number, batch) for number in itertools.count())
    next(answers)
    assert len(set(threading.enumerate()) - before) == 2
    answers.close()
    assert set(threading.enumerate()) <= before


class Full:
    """A session on a device that has room for batches of one text."""

    def __init__(self, runtime: Any, message: str) -> None:  # Any: onnxruntime has no types
        self._runtime, self._message = runtime, message

    def io_binding(self) -> Any:  # Any: see above
        return self._runtime.io_binding()

    def run_with_iobinding(self, binding: Any) -> None:  # Any: see above
        self._runtime.run_with_iobinding(binding)
        if binding.copy_outputs_to_cpu()[0].shape[0] > 1:
            raise RuntimeError(self._message)


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (
            "Error in execution: Non-zero status code returned while running Softmax node. Status Message: "
            "bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 2830172160",
            r"cuda:3 has no memory left \(for 2\.8 GB more\) for a batch of 2 texts of 9 tokens\..*--max-length.*"
            r"--workers.*--layers.*--dtype float16",
        ),
        (
            "CUDA failure 2: out of memory ; GPU=0",
            "cuda:3 has no memory left for a batch of 2 texts of 9 tokens",
        ),
        ("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED", "cuda:3 has no memory left"),
    ],
)
def test_no_memory_left_is_told_at_its_batch_with_what_helps(
    message: str, says: str, runtime: Any, plain: Session
) -> None:
    full = BoundRunner(Full(runtime, message), 4, "cpu", 3, MEMORIES["torch"]("cpu", 0))
    session = Session(plain.extractor, plain.backend, "cuda:3", full)
    two = some_batches()[0]
    one = Batch(*(part[:1] for part in two if part is not None))
    answers = session.stream([(0, one), (1, two), (2, one)])
    assert next(answers).tag == 0
    with pytest.raises(DeviceError, match=says):
        next(answers)
    with pytest.raises(DeviceError, match=says):
        session.run(*two)


def test_another_error_of_a_run_is_left_as_it_is(runtime: Any, plain: Session) -> None:
    assert out_of_memory(0, (2, 9), RuntimeError("CUDA failure 700: an illegal memory access")) is None
    other = BoundRunner(Full(runtime, "CUDA failure 700"), 4, "cpu", 0, MEMORIES["torch"]("cpu", 0))
    with pytest.raises(RuntimeError, match="CUDA failure 700"):
        Session(plain.extractor, plain.backend, "cuda:0", other).run(*some_batches()[0])


def test_inputs_that_cannot_be_written_to_are_taken(bound: BoundRunner) -> None:
    ids: Ids = np.full((2, 6), 50)
    ids.flags.writeable = False
    inputs: Inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": 0 * ids}
    assert bound(inputs).shape == (2, 4, 6)


def test_the_memory_is_that_of_pytorch_where_it_reaches_the_device() -> None:
    import torch

    assert isinstance(device_memory("cpu", 0), TorchMemory)
    assert isinstance(device_memory("cuda", torch.cuda.device_count()), RuntimeMemory)


def test_a_module_of_pytorch_is_a_pipeline_too(plain: Session, tiny_bert: Path) -> None:
    from transformers import AutoModel

    from amix.engine.extractor.module import RelevanceModule
    from amix.engine.extractor.torchsession import TorchRunner

    module = RelevanceModule(AutoModel.from_pretrained(tiny_bert, attn_implementation="eager"), (0, 1))
    session = Session(
        plain.extractor, "eager", "cpu", TorchRunner(module, plain.extractor.inputs, TorchMemory("cpu", 0))
    )
    batches = some_batches()
    for answer, batch in zip(session.stream(enumerate(batches)), batches, strict=True):
        assert answer.relevance is not None
        np.testing.assert_allclose(answer.relevance, plain.run(*batch), atol=2e-5)
        np.testing.assert_array_equal(answer.relevance, session.run(*batch))
