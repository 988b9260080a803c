"""What tests share: a tiny random encoder, its extractor, sixty short reviews and shards of them."""

import itertools
import json
import logging
import multiprocessing
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before any import of huggingface_hub: no test may reach for the network
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Tiny models are faster on one thread, by far when other tests run beside.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from tests.shared import SharedFolders
from tests.slowness import Recorder, mark_slow
from tests.tinybert import write_bert

# pytest hands its handler to every logger that does not propagate; with one, PyTorch traces
# each step of torch.export in detail, which doubles the time of an export.
logging.getLogger("torch.__trace").addHandler = lambda hdlr: None  # type: ignore[method-assign]  # that it has none

# A worker that need not have its parent's environment is forked from a server which has imported everything and started
# nothing. The process of the tests itself is not to be forked: Ray leaves threads there.
multiprocessing.set_forkserver_preload(["tests.warm"])

MakeShards = Callable[..., Path]
Rows = Iterable[Mapping[str, Any]]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of `make slow`."""
    parser.addoption(
        "--record-slow", action="store_true", help="write tests/slow.txt anew, if all tests pass"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Have the durations of tests noted where that is wanted: in the process that all reports come to."""
    if config.getoption("--record-slow") and "PYTEST_XDIST_WORKER" not in os.environ:
        config.pluginmanager.register(Recorder())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that `make quick` leaves out."""
    mark_slow(items)


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write `rows` as JSON Lines and return `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(name="write_jsonl", scope="session")
def write_jsonl_fixture() -> Callable[[Path, Iterable[Mapping[str, Any]]], Path]:
    """The function `write_jsonl(path, rows) -> path`."""
    return write_jsonl


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedFolders]:
    """The folders of this run. If a test has written to one of them, the run fails at its end."""
    base = tmp_path_factory.getbasetemp()
    # With pytest-xdist each process has a folder of its own, and those are in one.
    folders = SharedFolders((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared")
    yield folders
    assert not folders.changed(), "a test wrote to folders that all tests read: it must copy them first"


@pytest.fixture(scope="session")
def tiny_bert(shared: SharedFolders) -> Path:
    """The folder of a BERT with random weights: 2 layers, 2 heads, width 16, 64 positions, and its tokenizer."""
    return shared.make("tiny-bert", write_bert)


@pytest.fixture(scope="session")
def still_bert(tiny_bert: Path, shared: SharedFolders) -> Path:
    """The tiny encoder without dropout, whose numbers differ between processes and compilers."""
    from transformers import AutoModel, AutoTokenizer

    def build(folder: Path) -> None:
        still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        AutoModel.from_pretrained(tiny_bert, **still).save_pretrained(folder)
        AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(folder)

    return shared.make("still-bert", build)


@pytest.fixture(scope="session")
def tiny_extractor(tiny_bert: Path, shared: SharedFolders) -> Path:
    """The ONNX extractor of `tiny_bert`: four heads, relevance kind `received`."""
    from amix.exporters.export import export

    return shared.make("tiny", lambda folder: export(str(tiny_bert), folder))


@pytest.fixture(scope="session")
def review_rows() -> list[dict[str, Any]]:
    """Sixty short reviews of different lengths, `{"text", "label"}`, label 1 for the kind ones."""
    subjects = ("the film", "this movie", "the story", "her acting", "the script")
    words = {
        1: ("warm", "funny and clever", "a lovely surprise"),
        0: ("dull", "slow and hollow", "a tired mess"),
    }
    tails = (
        "",
        ", and I'd watch it again",
        " from the first scene to the last: nothing in it rings true or false",
    )
    rows = [
        {"text": f"{subject} is {word}{tail}.".capitalize(), "label": label}
        for subject, (label, choices), tail in itertools.product(subjects, words.items(), tails)
        for word in choices
    ]
    # 7 and 90 share no divisor: all different.
    return [rows[(7 * number) % len(rows)] for number in range(60)]


@pytest.fixture(scope="session")
def make_shards(tiny_extractor: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeShards:
    """`make_shards(rows, extractor=..., no_labels=...)` -> a cache."""

    def make(rows: Rows, extractor: Path = tiny_extractor, heads: str = "all", **corpus: Any) -> Path:
        folder = tmp_path_factory.mktemp("shards")
        source = write_jsonl(folder / "rows.jsonl", rows)
        return build_shards(source, folder / "shards", extractor, heads, **corpus)

    return make


@pytest.fixture(scope="session")
def reviews(shared: SharedFolders, tiny_extractor: Path, review_rows: list[dict[str, Any]]) -> Path:
    """Forty reviews to train on, with named classes."""
    return shared_shards(shared, "reviews", review_rows[:40], tiny_extractor)


@pytest.fixture(scope="session")
def held_out(shared: SharedFolders, tiny_extractor: Path, review_rows: list[dict[str, Any]]) -> Path:
    """The other twenty."""
    return shared_shards(shared, "held-out", review_rows[40:], tiny_extractor)


def shared_shards(shared: SharedFolders, name: str, rows: Rows, extractor: Path) -> Path:
    """Return a cache of `rows` that all tests share; `amix train` may write a ranking of its heads beside it."""

    source = shared.make(f"{name}-rows", lambda folder: write_jsonl(folder / "rows.jsonl", map(named, rows)))
    return shared.make(name, lambda folder: build_shards(source / "rows.jsonl", folder, extractor))


def build_shards(source: Path, out: Path, extractor: Path, heads: str = "all", **corpus: Any) -> Path:
    """Precompute `source` in one worker and return `out`."""
    from amix.loaders.corpus import CorpusOptions
    from amix.loaders.precompute.run import PrecomputeOptions, precompute

    precompute(
        str(source),
        out,
        extractor=extractor,
        corpus_options=CorpusOptions(**corpus),
        options=PrecomputeOptions(workers=1, heads=heads),
    )
    return out


def named(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its class as a name."""
    return {**row, "label": ("bad", "good")[row["label"]]}


@pytest.fixture
def private_mounts() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """A function that runs a shell script which may mount what it likes; its mounts go with it."""
    start = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-euc"]

    def run(script: str, *arguments: object, **variables: object) -> "subprocess.CompletedProcess[str]":
        names = {name: str(value) for name, value in variables.items()}
        done = subprocess.run(
            [*start, script, "sh", *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, **names},
        )
        assert done.returncode == 0, done.stderr
        return done

    try:
        probe = subprocess.run(
            [*start, "mount -t tmpfs tmpfs /mnt"], check=False, capture_output=True, text=True
        )
    except OSError as problem:
        pytest.skip(f"a small file system cannot be made here: {problem}")
    if probe.returncode:
        pytest.skip(f"a small file system cannot be made here: {probe.stderr.strip()}")
    return run
