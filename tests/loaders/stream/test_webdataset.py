"""Pipelines of WebDataset give what `RelevanceLoader` gives, and refuse what is not what it claims."""

import functools
import gzip
import io
import itertools
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from amix.engine.base.errors import AmixError, FetchError, HeadError, ShardError, UsageError
from amix.loaders.stream.batch import Batch
from amix.loaders.stream.dataset import RelevanceDataset
from amix.loaders.stream.loader import RelevanceLoader
from amix.loaders.stream.webdataset import pipeline
from tests.loaders.fixtures import by_name
from tests.loaders.forge import forge, layout_of

KINDS = {
    "class ids": layout_of(),
    "bytes": layout_of(heads=6, dtype="uint8"),
    "floats": layout_of(dtype="float32"),
    "pairs": layout_of(token_types=True, text=True),
    "class weights": layout_of(classes=3),
    "no labels": layout_of(cls=False),
    "wide ids": layout_of(wide_ids=True),
}
HEADS = [(0, 0), (0, 1)]
ALONE: dict[str, Any] = {"heads": HEADS, "special_ids": (0, 101, 102), "pad_id": 0}  # without a manifest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty texts in four shards."""
    lengths = np.random.default_rng(0).integers(2, 40, 50).tolist()
    return forge(tmp_path_factory.mktemp("stream") / "cache", lengths)


@pytest.fixture(scope="module")
def foreign(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same texts in tars that WebDataset's own writer made, and nothing beside them."""
    import webdataset as wds

    out = tmp_path_factory.mktemp("foreign")
    pattern, dataset = str(out / "s-%02d.tar"), RelevanceDataset(folder, "0.0|0.1")
    with wds.ShardWriter(pattern, maxcount=13, verbose=0) as writer:
        for number in range(len(dataset)):
            sample = dataset[number]
            writer.write(
                {
                    "__key__": sample["key"],
                    "input_ids.npy": sample["input_ids"].astype(np.uint16),
                    "relevance.npy": sample["relevance"].astype(np.float16),
                    "cls": sample["labels"],
                    "json": {"anything": "else"},
                }
            )
    return str(out / "s-{00..03}.tar")


def tars(folder: Path) -> list[str]:
    return sorted(map(str, folder.glob("*.tar")))


def assert_equal(got: Iterator[Batch], want: Iterator[Batch]) -> None:
    for one, other in itertools.zip_longest(got, want):
        first, second = by_name(one), by_name(other)
        assert first.keys() == second.keys()
        assert first.pop("keys") == second.pop("keys")
        for name, tensor in first.items():
            assert tensor.dtype == second[name].dtype
            assert torch.equal(tensor, second[name])


@pytest.mark.parametrize("head", [None, "0.1", "0.mean", "0.0|mean|0.1"])
@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_those_of_the_loader(tmp_path: Path, kind: str, head: str | None) -> None:
    lengths = np.random.default_rng(1).integers(1, 40, 20).tolist()
    cache = forge(tmp_path / "cache", lengths, KINDS[kind], per_shard=8)
    loader = RelevanceLoader(RelevanceDataset(cache, head), batch_size=6, shuffle="none")
    assert_equal(iter(pipeline(tars(cache), head=head, batch_size=6, shuffle=0)), iter(loader))


@pytest.mark.parametrize("packed", [False, True])
def test_tars_of_webdataset_give_the_same_batches(
    folder: Path, foreign: str, tmp_path: Path, packed: bool
) -> None:
    urls: Any = foreign
    if packed:
        urls = [str(tmp_path / f"{number}.tar.gz") for number in range(4)]
        for number, url in enumerate(urls):
            plain = Path(foreign.replace("{00..03}", f"0{number}"))
            Path(url).write_bytes(gzip.compress(plain.read_bytes()))
    loader = RelevanceLoader(RelevanceDataset(folder, "0.1"), batch_size=8, shuffle="none")
    assert_equal(iter(pipeline(urls, head="0.1", batch_size=8, shuffle=0, **ALONE)), iter(loader))


def _takes_rank(rank: int, _worker: int) -> None:
    os.environ.update(WORLD_SIZE="2", RANK=str(rank))


@pytest.mark.parametrize("workers", [1, 2])
def test_nodes_and_workers_have_shards_of_their_own(folder: Path, foreign: str, workers: int) -> None:
    met: list[str] = []
    for rank in (0, 1):
        batches = DataLoader(
            pipeline(foreign, head="0.1", batch_size=4, shuffle=20, **ALONE),
            batch_size=None,
            num_workers=workers,
            multiprocessing_context="forkserver",
            worker_init_fn=functools.partial(_takes_rank, rank),
        )
        keys = [key for batch in batches for key in batch["keys"]]
        assert 20 < len(keys) < 30
        met += keys
    assert sorted(met) == [f"{number:012d}" for number in range(50)]


def test_each_iteration_has_another_order_and_a_seed_has_its_own(folder: Path) -> None:
    def order(stream: Any) -> list[str]:
        return [key for batch in stream for key in batch["keys"]]

    stream = pipeline(tars(folder), shuffle=30, seed=3)
    first, second = order(stream), order(stream)
    assert sorted(first) == sorted(second)
    assert first != second
    assert order(pipeline(tars(folder), shuffle=30, seed=3)) == first
    assert order(pipeline(tars(folder), shuffle=30, seed=9)) != first


def test_pipes_run_only_when_asked_for(
    folder: Path, foreign: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "ran"
    first = foreign.replace("{00..03}", "00")
    command = f"pipe:touch {mark}; cat {first}"
    with pytest.raises(UsageError, match="allow_pipe=True"):
        pipeline(command, head="0.1", **ALONE)
    monkeypatch.setenv("GOPEN_REWRITE", f"{tmp_path}=pipe:touch {mark}; cat ")
    with pytest.raises(UsageError, match="allow_pipe=True"):
        pipeline(str(tmp_path / "x.tar"), head="0.1", **ALONE)
    monkeypatch.delenv("GOPEN_REWRITE")
    assert not mark.exists()
    batches = list(pipeline(command, head="0.1", shuffle=0, batch_size=13, allow_pipe=True, **ALONE))
    assert len(batches) == 1
    assert mark.exists()


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"head": "7.0", **ALONE}, HeadError, "It holds layer 0: heads 0, 1"),
        ({"head": "0.1", **ALONE, "heads": None}, UsageError, r"no manifest.json .*heads has to be given"),
        ({"head": "0.1", **ALONE, "special_ids": None}, UsageError, "special_ids has to be given"),
        (
            {"head": "0.1", **ALONE, "heads": [(0, 0)]},
            UsageError,
            "1 heads were given, and relevance has 2 rows",
        ),
        ({"batch_size": 0, **ALONE}, UsageError, "batch_size 0"),
        ({"shuffle": -1, **ALONE}, UsageError, "shuffle -1"),
    ],
)
def test_options_that_cannot_be(
    foreign: str, options: dict[str, Any], error: type[AmixError], says: str
) -> None:
    with pytest.raises(error, match=says):
        pipeline(foreign, **options)


def test_no_url_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="names no tar"):
        pipeline([])
    with pytest.raises(FetchError, match=r"absent\.tar: cannot be read \(No such file"):
        pipeline(str(tmp_path / "absent.tar"), **ALONE)


Change = Callable[[bytearray], bytes | bytearray]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data[:4000], "ends in the middle"),
        (lambda data: data[:-1024], "ends in the middle"),
        (lambda data: flipped(data, 200), "the header of a member is damaged"),
        (
            lambda data: flipped(data, 512 + 128),
            r"sample 000000000000: .*input_ids do not match their checksum",
        ),
        (lambda data: bytes(1024), "holds 0 samples or more, and its checksums are of 16"),
        (lambda data: data + data, "OK"),  # what follows the end mark is not read
    ],
)
def test_damage_is_found(tmp_path: Path, change: Change, says: str) -> None:
    cache = forge(tmp_path / "cache", [9] * 16)
    tar = cache / "shard-00000000.tar"
    tar.write_bytes(change(bytearray(tar.read_bytes())))
    stream = pipeline(str(tar), head="0.1")
    if says == "OK":
        assert len(list(stream)) == 1
        return
    with pytest.raises(ShardError, match=rf"shard-00000000\.tar: {says}"):
        list(stream)


def flipped(data: bytearray, at: int) -> bytearray:
    data[at] ^= 1
    return data


def test_only_the_head_that_is_read_is_checked(tmp_path: Path) -> None:
    cache = forge(tmp_path / "cache", [9])
    tar = cache / "shard-00000000.tar"
    begin, _ = layout_of().payloads(9)["relevance"]
    tar.write_bytes(flipped(bytearray(tar.read_bytes()), begin))  # head 0.0
    assert len(list(pipeline(str(tar), head="0.1"))) == 1
    with pytest.raises(ShardError, match="relevance do not match"):
        list(pipeline(str(tar), head="0.0"))


def packed(path: Path, *samples: dict[str, bytes]) -> str:
    """A tar of samples named 0, 1, 2, each with these members."""
    with tarfile.open(path, "w") as tar:
        for number, members in enumerate(samples):
            for name, content in members.items():
                info = tarfile.TarInfo(f"{number}.{name}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return str(path)


def npy(array: Any, pickled: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=pickled)
    return buffer.getvalue()


IDS = npy(np.array([101, 7, 102], np.uint16))
RELEVANCE = npy(np.ones((2, 3), np.float16))
WHOLE = {"input_ids.npy": IDS, "relevance.npy": RELEVANCE, "cls": b"1"}


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("second", "says"),
    [
        ({"input_ids.npy": IDS, "cls": b"1"}, r"has no member relevance\.npy; it has cls, input_ids\.npy"),
        ({"relevance.npy": RELEVANCE, "cls": b"1"}, r"has no member input_ids\.npy"),
        ({"input_ids.npy": IDS, "relevance.npy": RELEVANCE}, "has no cls, and the others have one"),
        (
            {**WHOLE, "labels.npy": npy(np.ones(2, np.float32))},
            r"has a labels\.npy, and the others have none",
        ),
        ({**WHOLE, "cls": b"-1"}, "no class id"),
        (
            {**WHOLE, "relevance.npy": npy(np.ones((3, 3), np.float16))},
            r"relevance\.npy is float16 \[3, 3\] instead",
        ),
        (
            {**WHOLE, "relevance.npy": npy(np.ones((2, 3), np.float64))},
            r"relevance\.npy: not an array as amix writes it",
        ),
        ({**WHOLE, "relevance.npy": npy(np.full((2, 3), np.nan, np.float16))}, "NaN, infinite or negative"),
        ({**WHOLE, "relevance.npy": b"short"}, r"relevance\.npy: not an array"),
    ],
)
def test_samples_unlike_the_first_are_refused(tmp_path: Path, second: dict[str, bytes], says: str) -> None:
    url = packed(tmp_path / "x.tar", WHOLE, second)
    with pytest.raises(ShardError, match=rf"x\.tar: sample 1: (?!sample).*{says}"):
        list(pipeline(url, head="0.1", **ALONE))


@pytest.mark.parametrize("head", ["0.1", None])
def test_nothing_is_ever_unpickled(tmp_path: Path, head: str | None) -> None:
    import pickle

    bomb = Bomb(tmp_path / "ran")
    evil = npy(np.array([bomb], object), pickled=True)
    for number, members in enumerate(
        [
            {**WHOLE, "pyd": pickle.dumps(bomb), "pth": pickle.dumps(bomb)},
            {**WHOLE, "input_ids.npy": evil},
            {**WHOLE, "relevance.npy": evil},
        ]
    ):
        url = packed(tmp_path / f"{number}.tar", WHOLE, members)
        try:
            list(pipeline(url, head=head, **ALONE))
        except ShardError as problem:
            assert "sample 1" in str(problem)
    assert not (tmp_path / "ran").exists()


def test_the_first_sample_says_what_it_lacks(tmp_path: Path) -> None:
    url = packed(tmp_path / "x.tar", {"txt": b"a text"})
    with pytest.raises(ShardError, match=r"sample 0: has no member input_ids\.npy; it has txt"):
        pipeline(url, head=None, special_ids=(), pad_id=0)
    with pytest.raises(ShardError, match="holds no sample, nor do the others"):
        pipeline(packed(tmp_path / "y.tar"), **ALONE)
    with pytest.raises(ShardError, match="duplicate file name"):
        data = Path(packed(tmp_path / "z.tar", WHOLE)).read_bytes()
        twice = data[: 512 * 2] + data
        (tmp_path / "z.tar").write_bytes(twice)
        pipeline(str(tmp_path / "z.tar"), **ALONE)


def test_long_names_of_both_kinds(tmp_path: Path) -> None:
    for number, kind in enumerate((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)):
        path = tmp_path / f"{number}.tar"
        with tarfile.open(path, "w", format=kind) as tar:
            folder = tarfile.TarInfo("d" * 120)
            folder.type = tarfile.DIRTYPE
            tar.addfile(folder)
            for name, content in WHOLE.items():
                info = tarfile.TarInfo(f"{'d' * 120}/\u00e9.{name}")
                info.size, info.mtime = len(content), 1.5
                tar.addfile(info, io.BytesIO(content))
        (batch,) = pipeline(str(path), head="0.1", **ALONE)
        assert batch["keys"] == [f"{'d' * 120}/\u00e9"]


def test_another_url_is_read_through_fsspec(folder: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for path in [*folder.glob("*.tar"), folder / "manifest.json"]:
        memory.pipe_file(f"/cache/{path.name}", path.read_bytes())
    loader = RelevanceLoader(RelevanceDataset(folder), batch_size=8, shuffle="none")
    got = pipeline("memory://cache/shard-{00000000..00000003}.tar", batch_size=8, shuffle=0)
    assert_equal(iter(got), iter(loader))
