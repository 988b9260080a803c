import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from amix.engine.base.errors import HeadError, ShardError
from amix.loaders.shards.layout import Layout
from amix.loaders.stream.collate import Collate, as_tensors
from amix.loaders.stream.dataset import RelevanceDataset
from amix.loaders.stream.loader import RelevanceLoader
from tests.loaders.fixtures import WriteJsonl, by_name
from tests.loaders.forge import VOCABULARY, Made, forge, layout_of, random_sample


@pytest.fixture(scope="module")
def dataset(shards: Path) -> RelevanceDataset:
    return RelevanceDataset(shards, head="0.mean")


def test_a_head_spec_is_the_mean_of_its_heads(shards: Path) -> None:
    one, two, both = (
        RelevanceDataset(shards, head=head)[7]["relevance"] for head in ("0.0", "1.1", "0.0,1.1")
    )
    np.testing.assert_allclose(both, (one + two) / 2, rtol=1e-6)


def test_content_is_what_is_not_special(dataset: RelevanceDataset) -> None:
    sample = dataset[0]
    assert not sample["content"][0]
    assert not sample["content"][-1]
    assert sample["content"][1:-1].all()


def test_an_unknown_word_is_content(tiny_extractor: Path, tmp_path: Path, write_jsonl: WriteJsonl) -> None:
    from amix.loaders.precompute.run import PrecomputeOptions, precompute

    corpus = write_jsonl(tmp_path / "corpus.jsonl", [{"text": "\u4e2d", "label": 0}])
    precompute(str(corpus), tmp_path / "out", extractor=tiny_extractor, options=PrecomputeOptions(workers=1))
    assert RelevanceDataset(tmp_path / "out")[0]["content"].tolist() == [False, True, False]


def test_a_head_that_is_not_stored_is_refused_with_what_is(shards: Path) -> None:
    with pytest.raises(HeadError, match=r"head '9\.0'.*layers 0, 1: heads 0, 1"):
        RelevanceDataset(shards, head="9.0")


def test_numbers_count_from_both_ends_and_stop_there(dataset: RelevanceDataset) -> None:
    assert len(dataset) == 60
    assert dataset[-1]["key"] == dataset[59]["key"] == f"{59:012d}"
    for number in (60, -61):
        with pytest.raises(IndexError):
            dataset[number]


def test_other_labels_take_the_place_of_the_stored_ones_everywhere(shards: Path) -> None:
    dataset = RelevanceDataset(shards, head="0.mean")
    others = (np.arange(len(dataset)) % 7).astype(np.int64)
    changed = pickle.loads(pickle.dumps(dataset.with_labels(others))).with_head("1.mean")
    assert (changed.relabelled, dataset.relabelled) == (True, False)
    numbers = [41, 3, 3, 59, 0]
    assert changed.batch(numbers)["labels"].tolist() == others[numbers].tolist()
    assert [changed[number]["labels"] for number in numbers] == others[numbers].tolist()
    assert changed.class_ids().tolist() == others.tolist()
    stored = RelevanceDataset(shards, head="1.mean").batch(numbers)
    assert dataset.batch(numbers)["labels"].tolist() == stored["labels"].tolist()
    np.testing.assert_equal(changed.batch(numbers), {**stored, "labels": others[numbers]})
    for batch in RelevanceLoader(changed, batch_size=8, seed=3):
        assert batch["labels"].tolist() == others[[int(key) for key in batch["keys"]]].tolist()


def test_pickling_a_used_dataset_keeps_it_small(dataset: RelevanceDataset) -> None:
    before = pickle.dumps(dataset)
    dataset[0]
    after = pickle.dumps(dataset)
    assert len(after) == len(before)
    assert pickle.loads(after)[5]["input_ids"].tolist() == dataset[5]["input_ids"].tolist()


KINDS = {
    "class ids": layout_of(),
    "bytes": layout_of(heads=6, dtype="uint8"),
    "floats": layout_of(dtype="float32"),
    "pairs": layout_of(token_types=True, text=True),
    "class weights": layout_of(classes=3),
    "no labels": layout_of(cls=False),
    "wide ids": layout_of(wide_ids=True),
}


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    lengths = np.random.default_rng(0).integers(2, 40, 50).tolist()
    folder = tmp_path_factory.mktemp("kinds")
    return {name: forge(folder / name, lengths, layout) for name, layout in KINDS.items()}


@pytest.mark.parametrize("head", [None, "0.1", "0.mean", "mean", "0.0|mean|0.1"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_what_collating_its_samples_gives(
    kinds: dict[str, Path], kind: str, head: str | None
) -> None:
    dataset = RelevanceDataset(kinds[kind], head=head)

    @given(st.lists(st.integers(0, len(dataset) - 1), min_size=1, max_size=8))
    def check(numbers: list[int]) -> None:
        want = by_name(Collate(dataset.manifest.pad_id)([dataset[number] for number in numbers]))
        got = by_name(as_tensors(dataset.batch(numbers)))
        assert got.keys() == want.keys()
        assert got.pop("keys") == want.pop("keys")
        for name, tensor in want.items():
            assert got[name].dtype == tensor.dtype
            assert torch.equal(got[name], tensor), name

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_written_is_read(kinds: dict[str, Path], kind: str) -> None:
    dataset = RelevanceDataset(kinds[kind], head="0.1")
    rel = {"float16": 1e-3, "float32": 1e-6, "uint8": 0.03}[KINDS[kind].dtype]
    for number in range(len(dataset)):
        sample, relevance_HT = random_sample(number, int(dataset.lengths()[number]), KINDS[kind])
        got = dataset[number]
        assert got["key"] == f"{number:012d}"
        assert got["input_ids"].tolist() == sample.ids.tolist()
        np.testing.assert_allclose(got["relevance"], relevance_HT[1], rtol=rel, atol=rel)
        if sample.labels is not None:
            np.testing.assert_allclose(got["labels"], sample.labels, rtol=1e-6)
        elif sample.label >= 0:
            assert got["labels"] == sample.label
        if sample.token_type_ids is not None:
            assert got["token_type_ids"].tolist() == sample.token_type_ids.tolist()


@pytest.mark.parametrize(("value", "message"), [(np.nan, "NaN"), (np.inf, "infinite"), (-0.5, "negative")])
def test_relevance_that_no_run_writes_is_refused_on_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float, message: str
) -> None:
    monkeypatch.setattr("amix.loaders.shards.writer.encode", lambda relevance, dtype: (relevance, None))

    def make(row: int, tokens: int, layout: Layout) -> Made:
        sample, relevance_HT = random_sample(row, tokens, layout)
        if row == 20:
            relevance_HT[1, 3] = value
        return sample, relevance_HT

    dataset = RelevanceDataset(forge(tmp_path / "x", [5] * 40, make=make), head="0.1")
    dataset.batch([19, 21])
    with pytest.raises(ShardError, match=rf"shard-00000001\.tar: sample 000000000020: .*{message}"):
        dataset.batch([19, 20, 21])


def test_an_id_beyond_the_vocabulary_is_refused_on_reading(tmp_path: Path) -> None:
    def make(row: int, tokens: int, layout: Layout) -> Made:
        sample, relevance_HT = random_sample(row, tokens, layout)
        return (replace(sample, ids=sample.ids + VOCABULARY) if row == 3 else sample), relevance_HT

    dataset = RelevanceDataset(forge(tmp_path / "x", [4, 0, 0, 7, 4], make=make), head=None)
    with pytest.raises(ShardError, match=r"sample 000000000003: .*beyond the vocabulary of 1000"):
        dataset.batch(range(5))


def test_a_cache_of_more_shards_than_files_may_be_open(tmp_path: Path) -> None:
    forge(tmp_path / "x", [3] * 120, per_shard=1)
    code = """if True:
        import os
        import resource
        import sys
        from amix.loaders.stream.dataset import RelevanceDataset
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        dataset = RelevanceDataset(sys.argv[1], head="0.0")
        for turn in range(3):
            for begin in range(0, 120, 8):
                assert dataset.batch(range(begin, begin + 8))["input_ids"].shape == (8, 3)
            print(len(os.listdir("/dev/fd")))
    """
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x")], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert max(map(int, run.stdout.split())) < 64


def test_a_batch_reads_its_own_bytes_only(tmp_path: Path) -> None:
    """One head of many costs the bytes of one: the others may even be damaged."""
    folder = forge(tmp_path / "x", [8] * 4, layout_of(heads=8))
    tar = folder / "shard-00000000.tar"
    data = bytearray(tar.read_bytes())
    reader = RelevanceDataset(folder, head="0.0")._readers[0]
    begin, size = KINDS["class ids"].payloads(8)["relevance"]
    for offset in reader.index["offset"].tolist():
        for head in range(8):
            if head != 5:
                data[offset + begin + head * 16] ^= 1
    assert size // 2 == 16
    tar.write_bytes(data)
    assert RelevanceDataset(folder, head="2.1").batch(range(4))["relevance"].shape == (4, 8)
    with pytest.raises(ShardError, match="relevance"):
        RelevanceDataset(folder, head="2.0").batch([2])


def test_a_data_set_knows_its_classes(reviews: Path, make_shards: Any, review_rows: Any) -> None:
    dataset = RelevanceDataset(reviews)
    assert (dataset.label_names, dataset.num_classes) == (("bad", "good"), 2)
    without = RelevanceDataset(make_shards(review_rows[:2], no_labels=True))
    assert without.label_names is None
    with pytest.raises(ShardError, match="holds no labels"):
        without.num_classes  # noqa: B018  asking is what raises


def test_a_relative_folder_stays_the_same_when_the_program_goes_elsewhere(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shards.parent)
    dataset = RelevanceDataset(shards.name, head="0.mean")
    monkeypatch.chdir(tmp_path)
    assert dataset[3]["key"] == pickle.loads(pickle.dumps(dataset))[3]["key"]
    assert dataset.folder == shards.absolute()
