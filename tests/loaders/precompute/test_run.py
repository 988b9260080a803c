import fcntl
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import webdataset

from amix.engine.base import canonical
from amix.engine.base.errors import (
    CorpusError,
    DeviceError,
    ExtractorError,
    HeadError,
    ShardError,
    UsageError,
)
from amix.engine.extractor.tokenizer import open_tokenizer
from amix.loaders.corpus import CorpusOptions
from amix.loaders.precompute.progress import UnitSummary
from amix.loaders.precompute.run import PrecomputeOptions, precompute
from amix.loaders.shards.choices import RelevanceDtype
from amix.loaders.shards.manifest import Manifest
from amix.loaders.stream.dataset import RelevanceDataset
from tests.loaders.conftest import contents, document
from tests.loaders.fixtures import WriteJsonl

# webdataset leaves its tars to the garbage collector.
leaves_files_open = pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning",
    "ignore:Exception ignored in.*FileIO:pytest.PytestUnraisableExceptionWarning",
)

OPTIONS = PrecomputeOptions(samples_per_shard=16, workers=1)


def command(corpus: Path, out: Path, extractor: Path, *extra: object) -> list[str]:
    arguments = [str(corpus), str(out), "--extractor", str(extractor), "--samples-per-shard", "16", *extra]
    return [sys.executable, "-m", "amix", "precompute", *map(str, arguments)]


def test_stored_relevance_is_what_the_graph_gives_alone(
    shards: Path, corpus: Path, tiny_extractor: Path, review_rows: list[dict[str, Any]]
) -> None:
    session = onnxruntime.InferenceSession(str(tiny_extractor / "model.onnx"))
    tokenizer = open_tokenizer(tiny_extractor / "tokenizer.json")
    for number in (0, 17, 59):
        ids = np.array([tokenizer.encode(review_rows[number]["text"]).ids])
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        (relevance,) = session.run(["relevance"], feeds)
        np.testing.assert_allclose(relevance[0].sum(axis=1), ids.shape[1], rtol=1e-5)
        for position, head in enumerate(("0.0", "0.1", "1.0", "1.1")):
            sample = RelevanceDataset(shards, head=head)[number]
            assert sample["input_ids"].tolist() == ids[0].tolist()
            assert sample["labels"] == review_rows[number]["label"]
            np.testing.assert_allclose(sample["relevance"], relevance[0, position], rtol=2**-10)


def test_bytes_do_not_depend_on_the_number_of_workers(
    shards: Path, corpus: Path, tiny_extractor: Path, tmp_path: Path
) -> None:
    precompute(str(corpus), tmp_path / "out", extractor=tiny_extractor, options=replace(OPTIONS, workers=3))
    assert contents(tmp_path / "out") == contents(shards)


def test_a_worker_that_dies_is_noticed_and_nothing_is_lost(
    corpus: Path, tiny_extractor: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def kill_the_worker(summary: UnitSummary) -> None:
        for child in multiprocessing.active_children():
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)

    with pytest.raises(ShardError, match=r"worker \d+ died with exit code -9 .* run the same command again"):
        precompute(str(corpus), out, extractor=tiny_extractor, options=OPTIONS, on_unit=kill_the_worker)
    assert list(out.glob("shard-*.json"))
    assert precompute(str(corpus), out, extractor=tiny_extractor, options=OPTIONS).samples == 60


def test_a_finished_run_is_left_as_it_is(
    shards: Path, corpus: Path, tiny_extractor: Path, damaged: Path
) -> None:
    times = {path: path.stat().st_mtime_ns for path in damaged.iterdir()}
    units: list[UnitSummary] = []
    precompute(str(corpus), damaged, extractor=tiny_extractor, options=OPTIONS, on_unit=units.append)
    assert not units
    assert times == {path: path.stat().st_mtime_ns for path in damaged.iterdir()}


@pytest.mark.parametrize(
    "name", ["shard-00000001.tar", "shard-00000002.json", "tokenizer.json", "manifest.json"]
)
def test_damage_to_a_finished_cache_is_mended_by_the_same_command(
    shards: Path, corpus: Path, tiny_extractor: Path, damaged: Path, name: str
) -> None:
    (damaged / name).write_bytes(b"short")
    precompute(str(corpus), damaged, extractor=tiny_extractor, options=OPTIONS)
    assert contents(damaged) == contents(shards)


def test_a_restart_that_cannot_run_removes_nothing(corpus: Path, tiny_extractor: Path, damaged: Path) -> None:
    before = contents(damaged)
    options = replace(OPTIONS, restart=True, device="cuda:99")
    with pytest.raises(DeviceError):
        precompute(str(corpus), damaged, extractor=tiny_extractor, options=options)
    assert contents(damaged) == before


def test_somebody_elses_tars_are_refused_and_kept(corpus: Path, tiny_extractor: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "shard-00000000.tar", "w") as tar:
        tar.add(corpus, "data.jsonl")
    before = contents(tmp_path)
    for restart in (False, True):
        with pytest.raises(UsageError, match=r"already holds other work \(shard-00000000\.tar\)"):
            precompute(
                str(corpus), tmp_path, extractor=tiny_extractor, options=replace(OPTIONS, restart=restart)
            )
    assert contents(tmp_path) == before


def test_only_what_is_missing_is_built_again(
    shards: Path, corpus: Path, tiny_extractor: Path, damaged: Path
) -> None:
    (damaged / "manifest.json").unlink()
    (damaged / "shard-00000001.tar").write_bytes(b"short")
    (damaged / "shard-00000002.json").write_bytes(b"{}")
    (damaged / ".shard-00000003.tar.tmp-0123").write_bytes(b"left by a killed run")
    units: list[UnitSummary] = []
    precompute(str(corpus), damaged, extractor=tiny_extractor, options=OPTIONS, on_unit=units.append)
    assert [unit.unit for unit in units] == [1, 2]
    assert contents(damaged) == contents(shards)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"max_length": 32}, "max_length"),
        ({"dtype": "float32"}, "layout.dtype"),
        ({"heads": "0.0,1.1"}, "heads"),
        ({"samples_per_shard": 8}, "samples_per_shard"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_another_recipe_is_refused_by_name_and_loses_nothing(
    corpus: Path, tiny_extractor: Path, damaged: Path, change: dict[str, Any], name: str, finished: bool
) -> None:
    if not finished:
        (damaged / "manifest.json").unlink()
    before = contents(damaged)
    with pytest.raises(ShardError, match=rf"begun with .*{name}.*--restart"):
        precompute(str(corpus), damaged, extractor=tiny_extractor, options=replace(OPTIONS, **change))
    assert contents(damaged) == before


def test_a_cache_begun_by_another_version_is_refused_and_kept(
    corpus: Path, tiny_extractor: Path, damaged: Path
) -> None:
    (damaged / "manifest.json").unlink()
    for path in damaged.glob("shard-*.json"):
        document = canonical.unseal(path.read_bytes(), str(path), ShardError)
        renamed = {{"samples": "texts"}.get(key, key): value for key, value in document.items()}
        path.write_bytes(canonical.seal({**renamed, "plan": {**document["plan"], "format": 1}}))
    before = contents(damaged)
    with pytest.raises(ShardError, match=r"begun with format = 1, now it is 2\..*--restart"):
        precompute(str(corpus), damaged, extractor=tiny_extractor, options=OPTIONS)
    assert contents(damaged) == before


def test_a_corpus_that_changed_is_refused(
    corpus: Path, tiny_extractor: Path, damaged: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "train.jsonl"
    changed.write_bytes(corpus.read_bytes().replace(b"film", b"flim"))
    with pytest.raises(ShardError, match=r"corpus.*--restart"):
        precompute(str(changed), damaged, extractor=tiny_extractor, options=OPTIONS)
    manifest = precompute(
        str(changed), damaged, extractor=tiny_extractor, options=replace(OPTIONS, restart=True)
    )
    assert manifest.samples == 60


def test_other_work_in_the_folder_is_refused_and_kept(
    corpus: Path, tiny_extractor: Path, tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_text("my thesis")
    for restart in (False, True):
        with pytest.raises(UsageError, match=r"already holds other work \(README\.md\)"):
            precompute(
                str(corpus), tmp_path, extractor=tiny_extractor, options=replace(OPTIONS, restart=restart)
            )
    assert (tmp_path / "README.md").read_text() == "my thesis"


def test_a_second_process_is_refused(corpus: Path, tiny_extractor: Path, tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(ShardError, match="another process is writing"):
        precompute(str(corpus), tmp_path, extractor=tiny_extractor, options=OPTIONS)
    os.close(descriptor)


def test_rejects_are_recorded_with_row_and_reason(
    tiny_extractor: Path, tmp_path: Path, write_jsonl: WriteJsonl
) -> None:
    rows: list[dict[str, str | None]] = [{"text": f"text {number}", "label": "good"} for number in range(40)]
    rows[3] = {"text": "", "label": "good"}
    rows[20]["label"] = None
    for number in range(32, 40):
        rows[number]["text"] = None
    corpus = write_jsonl(tmp_path / "corpus.jsonl", rows)
    manifest = precompute(str(corpus), tmp_path / "out", extractor=tiny_extractor, options=OPTIONS)
    assert manifest.samples == 30
    found = [
        (line["row"], line["reason"])
        for line in map(json.loads, (tmp_path / "out" / "rejects.jsonl").read_text().splitlines())
    ]
    assert [row for row, _ in found] == [3, 20, *range(32, 40)]
    assert [reason for _, reason in found[:3]] == ["text is empty", "label is missing", "text is missing"]
    # A unit of rejects is an empty tar, so that units and shards stay one to one.
    with tarfile.open(tmp_path / "out" / "shard-00000002.tar") as tar:
        assert not tar.getnames()
    assert [int(RelevanceDataset(tmp_path / "out")[i]["key"]) for i in (2, 3, 29)] == [2, 4, 31]


@pytest.mark.parametrize("strange", ["\ufffd\ufffd", "[SEP]", "\ufffd[CLS] [PAD]"])
def test_a_text_that_gives_no_token_is_a_reject(
    tiny_extractor: Path, tmp_path: Path, write_jsonl: WriteJsonl, strange: str
) -> None:
    """The tokenizer drops such characters, so that only its own special tokens would be stored."""
    both = [("a film", "a plot"), (strange, "a plot"), ("", "a plot"), ("a film", strange), ("?", "\u4e2d")]
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": one, "b": two, "label": 0} for one, two in both])
    for pair_column, reasons in (
        (None, {1: "text gives no token", 2: "text is empty"}),
        ("b", {1: "text gives no token", 2: "text is empty", 3: "pair gives no token"}),
    ):
        out = tmp_path / f"out-{pair_column}"
        columns = CorpusOptions(pair_column=pair_column)
        manifest = precompute(
            str(corpus), out, extractor=tiny_extractor, corpus_options=columns, options=OPTIONS
        )
        assert dict(manifest.rejects()) == reasons
        assert RelevanceDataset(out).rows().tolist() == [row for row in range(5) if row not in reasons]


def test_too_many_rejects_stop_the_run_and_it_goes_on_when_they_are_allowed(
    tiny_extractor: Path, tmp_path: Path, write_jsonl: WriteJsonl
) -> None:
    rows = [{"text": "fine" if number % 2 else " ", "label": 0} for number in range(20)]
    corpus = write_jsonl(tmp_path / "corpus.jsonl", rows)
    with pytest.raises(
        CorpusError, match=r"10 rows cannot be used, --max-rejects is 9.*10 x text is nothing"
    ):
        precompute(
            str(corpus), tmp_path / "out", extractor=tiny_extractor, options=replace(OPTIONS, max_rejects=9)
        )
    assert not list((tmp_path / "out").glob(".*"))
    options = replace(OPTIONS, max_rejects=10)
    assert precompute(str(corpus), tmp_path / "out", extractor=tiny_extractor, options=options).samples == 10


def test_a_corpus_of_rejects_alone_is_refused(
    tiny_extractor: Path, tmp_path: Path, write_jsonl: WriteJsonl
) -> None:
    corpus = write_jsonl(
        tmp_path / "corpus.jsonl", [{"text": " ", "label": 0}, {"text": "\u200b", "label": 1}]
    )
    with pytest.raises(CorpusError, match="no row can be used"):
        precompute(str(corpus), tmp_path / "out", extractor=tiny_extractor, options=OPTIONS)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_long_texts_are_cut_and_counted(
    tiny_extractor: Path, tmp_path: Path, write_jsonl: WriteJsonl
) -> None:
    rows = [{"text": "film " * 200, "label": 0}, {"text": "film", "label": 1}]
    corpus = write_jsonl(tmp_path / "corpus.jsonl", rows)
    options = replace(OPTIONS, max_length=1000)  # beyond the encoder's 64
    manifest = precompute(str(corpus), tmp_path / "out", extractor=tiny_extractor, options=options)
    assert manifest.max_length == 64
    assert manifest.truncated == 1
    dataset = RelevanceDataset(tmp_path / "out", head="mean")
    assert dataset.lengths().tolist() == [64, 3]
    assert dataset[0]["relevance"].sum() == pytest.approx(64, rel=1e-3)


@leaves_files_open
def test_pairs_and_soft_labels_and_text(
    tiny_extractor: Path, tmp_path: Path, write_jsonl: WriteJsonl
) -> None:
    rows = [
        {"text": "a film", "b": "a movie", "label": [0.25, 0.75]},
        {"text": "x", "b": "y z", "label": [1.0, 0.0]},
    ]
    corpus = write_jsonl(tmp_path / "corpus.jsonl", rows)
    precompute(
        str(corpus),
        tmp_path / "out",
        extractor=tiny_extractor,
        corpus_options=CorpusOptions(pair_column="b", labels=("no", "yes")),
        options=replace(OPTIONS, keep_text=True),
    )
    sample = RelevanceDataset(tmp_path / "out")[0]
    assert sample["token_type_ids"].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert sample["labels"].tolist() == [0.25, 0.75]
    (tar,) = (tmp_path / "out").glob("*.tar")
    plain = next(iter(webdataset.WebDataset(str(tar), shardshuffle=False).decode()))
    assert plain["txt"] == "a film"
    assert plain["labels.npy"].tolist() == [0.25, 0.75]


def test_without_labels(corpus: Path, tiny_extractor: Path, tmp_path: Path) -> None:
    precompute(
        str(corpus),
        tmp_path / "out",
        extractor=tiny_extractor,
        corpus_options=CorpusOptions(no_labels=True, limit=20),
        options=OPTIONS,
    )
    dataset = RelevanceDataset(tmp_path / "out")
    assert len(dataset) == 20
    assert "labels" not in dataset[0]
    assert set(dataset.class_ids()) == {-1}
    assert dataset.manifest.label_names is None


def test_names_and_numbers_of_another_cache(
    tiny_extractor: Path, tmp_path: Path, write_jsonl: WriteJsonl
) -> None:
    train = write_jsonl(tmp_path / "train.jsonl", [{"text": "x", "label": name} for name in ("b", "a", "c")])
    test = write_jsonl(tmp_path / "test.jsonl", [{"text": "x", "label": name} for name in ("c", "b")])
    precompute(str(train), tmp_path / "train", extractor=tiny_extractor, options=OPTIONS)
    options = replace(OPTIONS, labels_from=f"file://{tmp_path}/train")
    manifest = precompute(str(test), tmp_path / "test", extractor=tiny_extractor, options=options)
    assert manifest.label_names == ("a", "b", "c")
    assert RelevanceDataset(tmp_path / "test").class_ids().tolist() == [2, 1]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float16", 1e-3), ("uint8", 0.02)])
def test_relevance_survives_its_code(
    corpus: Path, tiny_extractor: Path, shards: Path, tmp_path: Path, dtype: RelevanceDtype, tolerance: float
) -> None:
    options = replace(OPTIONS, dtype=dtype, heads="1")
    precompute(str(corpus), tmp_path / "out", extractor=tiny_extractor, options=options)
    dataset, exact = RelevanceDataset(tmp_path / "out", head="1.1"), RelevanceDataset(shards, head="1.1")
    assert dataset.manifest.heads == ((1, 0), (1, 1))
    for number in range(0, 60, 7):
        want = exact[number]["relevance"]
        np.testing.assert_allclose(dataset[number]["relevance"], want, atol=tolerance * want.max(), rtol=1e-3)


@leaves_files_open
def test_tars_are_plain_webdataset(shards: Path, review_rows: list[dict[str, Any]]) -> None:
    shard = str(shards / "shard-{00000000..00000003}.tar")
    samples = list(webdataset.WebDataset(shard, shardshuffle=False).decode())
    assert [sample["__key__"] for sample in samples] == [f"{number:012d}" for number in range(60)]
    assert [sample["cls"] for sample in samples] == [row["label"] for row in review_rows]
    for sample in samples:
        assert sample["input_ids.npy"].dtype == np.uint16
        assert sample["relevance.npy"].shape == (4, len(sample["input_ids.npy"]))
        np.testing.assert_allclose(
            sample["relevance.npy"].sum(axis=1), len(sample["input_ids.npy"]), rtol=0.02
        )


def test_datasets_reads_the_folder_without_amix(
    shards: Path, tmp_path: Path, review_rows: list[dict[str, Any]]
) -> None:
    # In a process of its own: abandoned streams of this library may abort at exit.
    code = """if True:
        import datasets
        import json
        import sys
        rows = datasets.load_dataset(sys.argv[1], split="train", cache_dir=sys.argv[2])
        print(json.dumps([[row["__key__"], row["cls"], row["input_ids.npy"]] for row in rows]))
        assert "amix" not in sys.modules
    """
    done = subprocess.run(
        [sys.executable, "-c", code, str(shards), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    ours = RelevanceDataset(shards)
    assert json.loads(done.stdout) == [
        [f"{number:012d}", row["label"], ours[number]["input_ids"].tolist()]
        for number, row in enumerate(review_rows)
    ]


def test_documents_hold_no_path_and_no_host(shards: Path, corpus: Path) -> None:
    import socket

    documents = [*shards.glob("*.json"), shards / "README.md"]
    assert len(documents) == 4 + 3  # records; manifest, tokenizer, card
    for path in documents:
        text = path.read_text(encoding="utf-8")
        assert str(corpus.parent) not in text
        assert socket.gethostname() not in text.replace("localhost", "")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"heads": "7"}, HeadError, "It holds layers 0, 1"),
        ({"device": "cuda:99"}, DeviceError, "cpu"),
    ],
)
def test_impossible_requests_leave_no_shard(
    corpus: Path,
    tiny_extractor: Path,
    tmp_path: Path,
    change: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        precompute(
            str(corpus), tmp_path / "out", extractor=tiny_extractor, options=replace(OPTIONS, **change)
        )
    assert not list((tmp_path / "out").glob("*"))


def test_a_folder_that_is_no_extractor_is_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ExtractorError, match="amix export"):
        precompute(str(corpus), tmp_path / "out", extractor=tmp_path, options=OPTIONS)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "option",
    [
        {"dtype": "int4"},
        {"max_length": 2},
        {"workers": 0},
        {"samples_per_shard": 0},
        {"max_rejects": -1},
        {"max_rejects": 1.5},
    ],
)
def test_options_out_of_range_are_refused_by_name(option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--" + next(iter(option)).replace("_", "-")):
        PrecomputeOptions(**option)


def test_records_agree_with_the_manifest(shards: Path) -> None:
    manifest = Manifest.read(shards)
    records = [document(path) for path in sorted(shards.glob("shard-*.json"))]
    assert [record["rows"] for record in records] == [[0, 16], [16, 32], [32, 48], [48, 60]]
    assert manifest.samples == sum(record["samples"] for record in records) == 60
    assert manifest.tokens == sum(record["tokens"] for record in records)


def test_a_whole_cache_needs_no_session(
    corpus: Path, tiny_extractor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "shards"
    first = precompute(str(corpus), out, extractor=tiny_extractor, options=OPTIONS)

    def refuse(*_: object, **__: object) -> None:
        raise DeviceError("no memory left")

    monkeypatch.setattr("amix.loaders.precompute.scheduler.local.open_session", refuse)
    assert precompute(str(corpus), out, extractor=tiny_extractor, options=OPTIONS) == first
    (out / "shard-00000000.tar").unlink()
    with pytest.raises(DeviceError):
        precompute(str(corpus), out, extractor=tiny_extractor, options=OPTIONS)
