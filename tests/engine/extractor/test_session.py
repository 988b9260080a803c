"""Sessions: all backends give the same numbers, and what cannot be run is refused with a remedy."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import pytest

from amix.engine.base import canonical
from amix.engine.base.errors import DeviceError, ExtractorError, UsageError
from amix.engine.base.installing import install
from amix.engine.base.machine import available_cores
from amix.engine.base.publish import sha256_file
from amix.engine.extractor.folder import Backend, open_extractor
from amix.engine.extractor.onnxsession import BoundRunner, session_options
from amix.engine.extractor.runner import Ids
from amix.engine.extractor.session import Session, open_session
from amix.engine.extractor.tokenizer import open_tokenizer

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def everything(tiny_bert: Path, tiny_extractor: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An extractor with every graph; the ONNX graph is that of `tiny_extractor`, which takes seconds to write."""
    from amix.exporters.export import export
    from amix.exporters.options import ExportOptions

    out = tmp_path_factory.mktemp("everything") / "extractor"
    export(str(tiny_bert), out, ExportOptions(formats=("torchscript", "pt2")))
    shutil.copy(tiny_extractor / "model.onnx", out)
    reseal(out, "model.onnx")
    return out


def batch_of(folder: Path, texts: list[str], length: int) -> tuple[Ids, Ids]:
    """Return ids and mask (B, length) of `texts`, padded on the right."""
    tokenizer = open_tokenizer(folder / "tokenizer.json")
    ids, mask = np.zeros((2, len(texts), length), np.int64)
    for row, encoding in enumerate(tokenizer.encode_batch(texts)):
        ids[row, : len(encoding.ids)], mask[row, : len(encoding.ids)] = encoding.ids, 1
    return ids, mask


TEXTS = ["The film is warm.", "bad", "A story that goes nowhere, slowly, twice!"]


# Triton has a file of its own, test_kernel.py.
@pytest.mark.parametrize("backend", [each for each in get_args(Backend) if each != "triton"])
def test_every_backend_agrees_with_the_encoder(backend: Backend, everything: Path, tiny_bert: Path) -> None:
    import torch
    from transformers import AutoModel

    ids, mask = batch_of(everything, TEXTS, 40)
    types = np.zeros_like(ids)
    types[2, 5:] = 1
    session = open_session(everything, backend=backend)
    assert (session.backend, session.device) == (backend, "cpu")

    found = session.run(ids, mask, types)

    model = AutoModel.from_pretrained(tiny_bert, attn_implementation="eager").eval()
    with torch.inference_mode():
        maps = model(
            input_ids=torch.from_numpy(ids),
            attention_mask=torch.from_numpy(mask),
            token_type_ids=torch.from_numpy(types),
            output_attentions=True,
        ).attentions
    expected = np.zeros((3, 4, 40))
    for row, head, query in np.ndindex(3, 4, 40):  # docs/architecture.md, section 4, rule 1, as a plain loop
        if mask[row, query]:
            expected[row, head] += maps[head // 2][row, head % 2, query].numpy() * mask[row]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.fixture(scope="module")
def session(tiny_extractor: Path) -> Session:
    return open_session(tiny_extractor, threads=1)


def test_relevance_depends_neither_on_padding_nor_on_the_batch(
    session: Session, tiny_extractor: Path
) -> None:
    ids, mask = batch_of(tiny_extractor, TEXTS, 60)
    together = session.run(ids, mask)
    for row in range(len(TEXTS)):
        count = int(mask[row].sum())
        alone = session.run(ids[row : row + 1, :count], mask[row : row + 1, :count])
        np.testing.assert_allclose(together[row, :, :count], alone[0], atol=1e-5)
        assert (together[row, :, count:] == 0).all()
        np.testing.assert_allclose(alone.sum(axis=2), count, rtol=1e-5)


def test_empty_batches_have_empty_answers(session: Session) -> None:
    for shape in ((0, 5), (2, 0)):
        empty = np.zeros(shape, np.int64)
        assert session.run(empty, empty).shape == (shape[0], 4, shape[1])


def test_tensors_of_torch_are_taken_too(session: Session) -> None:
    import torch

    ids = np.array([[2, 50, 3], [2, 60, 3]])
    mask = np.array([[1, 1, 1], [1, 1, 0]])
    wanted = session.run(ids, mask, np.zeros_like(ids))
    tensors = (torch.from_numpy(each) for each in (ids, mask, np.zeros_like(ids)))
    found = session.run(*tensors)
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, wanted)
    with pytest.raises(UsageError, match="input_ids is float32; give int64"):
        session.run(torch.zeros(1, 2), torch.zeros(1, 2))
    with pytest.raises(UsageError, match="input_ids is a list; give an array of NumPy or a tensor of torch"):
        session.run([[2, 3]], [[1, 1]])  # type: ignore[arg-type]  # which is what is refused


def test_inputs_that_the_encoder_cannot_take_are_refused(session: Session) -> None:
    ids = np.full((2, 5), 50, np.int64)
    ones = np.ones_like(ids)
    with pytest.raises(UsageError, match=r"attention_mask has shape \(2, 4\)"):
        session.run(ids, ones[:, :4])
    with pytest.raises(UsageError, match=r"shape \(5,\)"):
        session.run(ids[0], ones[0])
    with pytest.raises(UsageError, match="input_ids is int32; give int64"):
        session.run(ids.astype(np.int32), ones)
    with pytest.raises(UsageError, match=r"has 65 tokens, .* takes at most 64"):
        session.run(np.ones((1, 65), np.int64), np.ones((1, 65), np.int64))
    for wrong in (-1, session.extractor.vocab_size):
        ids[1, 2] = wrong
        with pytest.raises(UsageError, match=f"input_ids holds {wrong}, but the vocabulary has"):
            session.run(ids, ones)


def test_a_gpu_that_is_not_there_is_an_error_with_a_way_out(everything: Path) -> None:
    for backend in ("onnxruntime", "torchscript"):
        with pytest.raises(DeviceError, match=r"cuda:7 was asked for.*--device cpu"):
            open_session(everything, device="cuda:7", backend=backend)
    for device in ("tpu", "cuda:0,cuda:1"):
        with pytest.raises(UsageError, match=f"device is '{device}'; it must be cpu, cuda or cuda:N"):
            open_session(everything, device=device)
    with pytest.raises(UsageError, match="threads is 0"):
        open_session(everything, threads=0)


def test_a_bound_output_is_what_an_unbound_one_is(tiny_extractor: Path) -> None:
    """The way of the GPU, on the processor: one buffer that grows, and answers that later runs leave alone."""
    import onnxruntime

    graph = tiny_extractor / "model.onnx"
    runtime = onnxruntime.InferenceSession(graph, session_options(1), ["CPUExecutionProvider"])
    bound = BoundRunner(runtime, heads=4, device="cpu")
    draw = np.random.default_rng(0)
    answers = []
    for batch, tokens in ((2, 9), (5, 40), (1, 1), (3, 7), (40, 5), (1, 64), (5, 40)):
        ids = draw.integers(5, 100, (batch, tokens))
        mask = (np.arange(tokens) < draw.integers(1, tokens + 1, (batch, 1))).astype(np.int64)
        # Not contiguous, as a slice of a larger batch is not.
        inputs = {"input_ids": np.asfortranarray(ids), "attention_mask": mask, "token_type_ids": 0 * ids}
        answers.append((bound(inputs), runtime.run(["relevance"], inputs)[0]))
    for found, expected in answers:  # at the end, when the buffer has seen them all
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.float32


def test_a_bound_session_used_by_several_threads_mixes_nothing_up(tiny_extractor: Path) -> None:
    import onnxruntime

    graph = tiny_extractor / "model.onnx"
    runtime = onnxruntime.InferenceSession(graph, session_options(1), ["CPUExecutionProvider"])
    bound = BoundRunner(runtime, heads=4, device="cpu")
    batches = [np.full((1 + number % 3, 4 + number), 50 + number) for number in range(40)]
    inputs = [
        {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": 0 * ids} for ids in batches
    ]
    with ThreadPoolExecutor(4) as pool:
        for found, given in zip(pool.map(bound, inputs), inputs, strict=True):
            np.testing.assert_array_equal(found, runtime.run(["relevance"], given)[0])


def test_waiting_threads_spin_only_where_no_other_worker_needs_the_core() -> None:
    def spinning(threads: int | None) -> str:
        options = session_options(threads)
        try:
            return str(options.get_session_config_entry("session.intra_op.allow_spinning"))
        except RuntimeError:  # not set: the default, on
            return "1"

    cores = available_cores()
    assert [spinning(threads) for threads in (None, cores, cores + 1)] == ["1", "1", "1"]
    if cores > 1:
        assert spinning(cores - 1) == "0"
    assert session_options(3).intra_op_num_threads == 3


def test_the_pytorch_backends_take_their_threads_when_they_run(
    everything: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)  # which a command that ran in this process has set
    code = (
        "import os, sys, threading\n"
        "import amix.engine.extractor.torchsession as module\n"
        "from amix.engine.extractor.session import open_session\n"
        "import numpy as np\n"
        "module.available_cores = lambda: 64\n"
        "seen = []\n"
        "def policy(event, arguments):\n"
        "    if event == 'import' and arguments[0] == 'torch':\n"
        "        seen.append(os.environ.get('OMP_WAIT_POLICY'))\n"
        "sys.addaudithook(policy)\n"
        "session = open_session(sys.argv[1], threads=3, backend='torchscript')\n"
        "import torch\n"
        "before, ids = torch.get_num_threads(), np.full((2, 6), 50)\n"
        "def work():\n"
        "    session.run(ids, np.ones_like(ids))\n"
        "    seen.append(torch.get_num_threads())\n"
        "thread = threading.Thread(target=work)\n"
        "thread.start(), thread.join()\n"
        "print(before, seen[0], seen[-1], os.environ.get('OMP_WAIT_POLICY'), torch.is_inference_mode_enabled())"
    )
    # One thread before the run, as in the environment; torch was loaded with sleeping waits, unset afterwards.
    assert run_python(code, everything, OMP_NUM_THREADS="1") == "1 PASSIVE 3 None False"


def test_a_backend_without_its_graph_names_those_that_have_one(tiny_extractor: Path) -> None:
    with pytest.raises(ExtractorError, match=r"no graph for torchscript, only for onnxruntime.*--format"):
        open_session(tiny_extractor, backend="torchscript")


def reseal(folder: Path, *more: str, **changes: object) -> None:
    """Rewrite extractor.json so that only the session can notice what was done to the folder."""
    document = json.loads((folder / "extractor.json").read_bytes())
    document["files"] = {name: sha256_file(folder / name) for name in (*document["files"], *more)}
    (folder / "extractor.json").write_bytes(canonical.seal({**document, **changes}))


def test_eager_refuses_another_encoder_under_the_same_name(tiny_extractor: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_extractor, tmp_path / "extractor")
    reseal(folder, weights_sha256="0" * 64)
    with pytest.raises(ExtractorError, match="its weights are not those"):
        open_session(folder, backend="eager")
    reseal(folder, model=str(tmp_path / "gone"))
    with pytest.raises(ExtractorError, match="the backend eager needs the original encoder again"):
        open_session(folder, backend="eager")


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "unlisted.bin"])
def test_weights_in_files_that_the_record_does_not_list_are_refused(
    location: str, tiny_extractor: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_extractor, tmp_path / "extractor")
    model = onnx.load(folder / "model.onnx")
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    reseal(folder)
    with pytest.raises(ExtractorError, match=f"reads weights from '{location}'"):
        open_session(folder)


def test_a_file_that_is_not_a_graph_is_an_extractor_error(everything: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(everything, tmp_path / "extractor")
    for name in ("model.onnx", "model.torchscript.pt", "model.pt2"):
        (folder / name).write_bytes(b"not a graph")
    reseal(folder)
    for backend in open_extractor(folder).backends:
        with pytest.raises(ExtractorError, match=r"cannot open it.*Export it again"):
            open_session(folder, backend=backend)


def run_python(code: str, folder: Path, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, **variables},
    )
    return done.stdout.strip()


def test_without_onnxruntime_the_message_names_the_extra(tiny_extractor: Path) -> None:
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from amix.engine.extractor.session import open_session\n"
        "from amix.engine.base.errors import DependencyError\n"
        "try: open_session(sys.argv[1])\n"
        "except DependencyError as error: print(error)"
    )
    assert install("cpu") in run_python(code, tiny_extractor)


def test_a_worker_needs_no_torch(tiny_extractor: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "import numpy as np\n"
        "from amix.engine.extractor.session import open_session\n"
        "ids = np.full((2, 6), 50)\n"
        "print(open_session(sys.argv[1], threads=1).run(ids, np.ones_like(ids)).shape)"
    )
    assert run_python(code, tiny_extractor) == "(2, 4, 6)"
