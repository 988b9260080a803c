import contextlib
import logging
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amix.engine.base.errors import DependencyError, FetchError, ShardError, StorageError
from amix.engine.base.installing import install
from amix.loaders.shards.remote import CacheOptions
from amix.loaders.shards.verify import verify
from amix.loaders.stores import is_remote, shown, transfer
from amix.loaders.stream.batch import ArrayBatch, Batch
from amix.loaders.stream.dataset import RelevanceDataset
from amix.loaders.stream.loader import Reading, RelevanceLoader
from tests.loaders.fixtures import assert_same
from tests.loaders.flaky import Fault, FlakyStore
from tests.loaders.forge import forge

SECRET = "s3cr3t"


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty texts in five shards; read only."""
    lengths = np.random.default_rng(2).integers(2, 30, 40).tolist()
    return forge(tmp_path_factory.mktemp("remote") / "x", lengths, per_shard=8)


@pytest.fixture(autouse=True)
def brief_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "FIRST_PAUSE", 0.01)


@pytest.fixture
def cache(tmp_path: Path) -> CacheOptions:
    return CacheOptions(folder=tmp_path / "cache")


def everything(location: str | Path, **options: Any) -> ArrayBatch:  # Any: of a data set
    dataset = RelevanceDataset(location, head="0.1", **options)
    return dataset.batch(range(len(dataset)))


def fetched(cache: CacheOptions) -> list[str]:
    return sorted(path.name for path in cache.root().glob("*/shard-*.tar"))


def keys_of(batches: Iterable[Batch]) -> list[str]:
    return [key for batch in batches for key in batch["keys"]]


def held(cache: CacheOptions) -> int:
    total = 0
    for path in cache.root().glob("*/shard-*.tar"):
        with contextlib.suppress(FileNotFoundError):  # just evicted
            total += path.stat().st_size
    return total


@pytest.mark.parametrize(
    ("location", "remote"),
    [
        ("s3://bucket/x", True),
        ("hf://datasets/a/b", True),
        ("https://host/x", True),
        ("x", False),
        ("/x/y", False),
        ("C:\\x", False),
        (Path("s3://bucket/x"), False),
    ],
)
def test_urls_are_told_from_paths(location: str | Path, remote: bool) -> None:
    assert is_remote(location) == remote


@given(st.text("abc123", min_size=1), st.text("abc123:", min_size=1))
def test_secrets_of_a_url_are_not_shown(name: str, secret: str) -> None:
    url = f"https://{name}:{secret}@host.org:8080/path?signature={secret}#{secret}"
    assert shown(url) == "https://host.org:8080/path"


def test_a_remote_folder_reads_like_a_local_one(shards: Path, cache: CacheOptions) -> None:
    with FlakyStore(shards) as store:
        assert_same(everything(store.url, cache=cache), everything(shards))
        before = store.requests.copy()
        assert_same(everything(store.url, cache=cache), everything(shards))
        again = store.requests - before
        assert {path for _, path in again} == {"/manifest.json"}  # the rest is here


def test_shards_are_fetched_when_they_are_needed(shards: Path, cache: CacheOptions) -> None:
    with FlakyStore(shards) as store:
        dataset = RelevanceDataset(store.url, head="0.1", cache=cache)
        assert dataset.lengths().tolist() == RelevanceDataset(shards).lengths().tolist()
        assert fetched(cache) == []
        dataset.batch([0, 20])
        assert fetched(cache) == ["shard-00000000.tar", "shard-00000002.tar"]


@pytest.mark.parametrize("fault", ["500", "short", "wrong"])
def test_what_fails_for_a_moment_is_tried_again(shards: Path, cache: CacheOptions, fault: Fault) -> None:
    with FlakyStore(shards, lambda method, path, before: fault if before < 2 else None) as store:
        if fault == "wrong":  # nothing vouches for a manifest but itself
            store.fault = lambda method, path, before: (
                fault if before < 2 and "manifest" not in path else None
            )
        assert_same(everything(store.url, cache=cache), everything(shards))


@pytest.mark.parametrize(
    ("fault", "message"),
    [("500", "500"), ("short", "attempts"), ("wrong", "bytes that arrived are not those of")],
)
def test_what_fails_for_good_is_named_and_leaves_nothing(
    shards: Path, cache: CacheOptions, fault: Fault, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="amix")
    with FlakyStore(shards, lambda method, path, before: fault if path.endswith("3.tar") else None) as store:
        url = f"{store.url}?key={SECRET}"
        dataset = RelevanceDataset(url, head="0.1", cache=cache)
        with pytest.raises(FetchError, match=rf"shard-00000003\.tar: .*{message}") as problem:
            dataset.batch(range(40))
        assert store.times("3.tar") == transfer.ATTEMPTS
        assert fetched(cache) == [f"shard-0000000{number}.tar" for number in range(3)]
        assert not list(cache.root().rglob("*.part"))
        assert dataset._mirror is not None
        for text in (str(problem.value), caplog.text, repr(dataset._mirror.store)):
            assert SECRET not in text


def test_a_store_that_cannot_be_reached_is_no_damage_to_leave_out(shards: Path, cache: CacheOptions) -> None:
    with FlakyStore(shards) as store:
        dataset = RelevanceDataset(store.url, head="0.1", cache=cache, damaged="skip")
        store.fault = lambda method, path, before: "500"
        with pytest.raises(FetchError, match=r"shard-00000000\.tar"):
            dataset.batch([0])
        assert dataset.skipped == 0


def test_a_file_that_is_not_there_is_not_asked_for_again(shards: Path, cache: CacheOptions) -> None:
    with FlakyStore(shards) as store:
        with pytest.raises(FetchError, match=r"nowhere/manifest\.json: there is no such file"):
            RelevanceDataset(f"{store.url}/nowhere", cache=cache)
        assert store.times("manifest.json") == 1


def test_missing_credentials_are_not_asked_for_again_and_again(
    cache: CacheOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoCredentialsError(Exception):
        """As botocore calls it."""

    attempts: list[str] = []

    class Locked:
        @staticmethod
        def _strip_protocol(path: str) -> str:
            return path

        def cat_file(self, path: str) -> bytes:
            attempts.append(path)
            raise NoCredentialsError("Unable to locate credentials")

    monkeypatch.setattr(transfer.Store, "_system", lambda self: Locked())
    with pytest.raises(FetchError, match=r"s3://bucket/x/manifest\.json: no credentials were found"):
        RelevanceDataset("s3://bucket/x", cache=cache)
    assert len(attempts) == 1


def test_a_store_that_needs_another_package_names_it(
    cache: CacheOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec  # noqa: F401  its registry is what is changed

    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(DependencyError, match=rf"s3://.*{re.escape(install('s3'))}"):
        RelevanceDataset("s3://bucket/x", cache=cache)


def test_the_cache_keeps_to_its_limit(shards: Path, tmp_path: Path) -> None:
    sizes = [path.stat().st_size for path in [*shards.glob("*.tar"), *shards.glob("*.crc.npy")]]
    cache = CacheOptions(folder=tmp_path / "cache", limit=sum(sizes) // 2)
    with FlakyStore(shards) as store:
        for _ in range(2):
            dataset = RelevanceDataset(store.url, head="0.1", cache=cache)
            loader = RelevanceLoader(dataset, batch_size=4, shuffle="window", window=4)
            assert sorted(keys_of(loader)) == [f"{row:012d}" for row in range(40)]
        deadline = time.monotonic() + 60
        while held(cache) > cache.bytes():
            assert time.monotonic() < deadline  # what was being fetched ahead makes room when it is here
            time.sleep(0.01)
        assert fetched(cache)
        assert store.times(".tar") > 5  # some were fetched again

        small = CacheOptions(folder=tmp_path / "small", limit=1000)
        with pytest.raises(ShardError, match=r"does not fit into the local store of 1,000.*AMIX_CACHE_BYTES"):
            everything(store.url, cache=small)


def test_the_least_recently_used_goes_first(shards: Path, tmp_path: Path) -> None:
    three = [path for number in range(3) for path in shards.glob(f"shard-0000000{number}.[tc]*")]
    room = sum(path.stat().st_size for path in three)  # tars and checksums
    cache = CacheOptions(folder=tmp_path / "cache", limit=room + 10_000)
    with FlakyStore(shards) as store:
        for place in (0, 8, 16, 0, 24):  # the shards 0, 1, 2, 0 again, 3
            RelevanceDataset(store.url, head="0.1", cache=cache).batch([place])
            time.sleep(0.01)  # clocks of file systems tick
        assert "shard-00000001.tar" not in fetched(cache)
        assert {"shard-00000000.tar", "shard-00000003.tar"} <= set(fetched(cache))


def test_a_global_shuffle_over_more_than_the_cache_holds_is_warned_of(
    shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = CacheOptions(folder=tmp_path / "cache", limit=40_000)
    with FlakyStore(shards) as store:
        dataset = RelevanceDataset(store.url, cache=cache)
        RelevanceLoader(dataset, shuffle="window")
        assert not caplog.records
        RelevanceLoader(dataset)
        assert "shuffle='window'" in caplog.text


READ = """if True:
    import sys
    from pathlib import Path
    from amix.loaders.stream.dataset import RelevanceDataset
    from amix.loaders.shards.remote import CacheOptions
    dataset = RelevanceDataset(sys.argv[1], head="0.1", cache=CacheOptions(folder=Path(sys.argv[2])))
    print(len(dataset.batch(range(len(dataset)))["keys"]))
"""


def reading(url: str, cache: CacheOptions) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", READ, url, str(cache.root())],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_processes_share_what_one_of_them_fetches(shards: Path, cache: CacheOptions) -> None:
    with FlakyStore(shards) as store:
        processes = [reading(store.url, cache) for _ in range(3)]
        for process in processes:
            output, errors = process.communicate(timeout=120)
            assert output == "40\n", errors
        for number in range(5):
            assert store.times(f"{number}.tar") == store.times(f"{number}.crc.npy") == 1


def test_a_reader_that_is_killed_while_fetching_leaves_the_way_free(
    shards: Path, cache: CacheOptions
) -> None:
    with FlakyStore(shards, lambda method, path, before: "slow" if path.endswith("2.tar") else None) as store:
        process = reading(store.url, cache)
        deadline = time.monotonic() + 60
        while not store.times("2.tar"):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        store.fault = lambda method, path, before: None
        assert_same(everything(store.url, cache=cache), everything(shards))
        assert not list(cache.root().rglob("*.part"))


def test_a_damaged_copy_is_fetched_again(shards: Path, cache: CacheOptions) -> None:
    with FlakyStore(shards) as store:
        everything(store.url, cache=cache)
        (tar,) = cache.root().glob("*/shard-00000001.tar")
        tar.write_bytes(tar.read_bytes()[:-512])
        assert_same(everything(store.url, cache=cache), everything(shards))


@pytest.mark.parametrize("workers", [0, 2])
def test_shards_are_fetched_ahead_in_the_order_of_their_use(
    shards: Path, cache: CacheOptions, workers: int
) -> None:
    with FlakyStore(shards) as store:
        dataset = RelevanceDataset(store.url, head="0.1", cache=cache)
        reading = Reading(workers=workers)
        loader = RelevanceLoader(dataset, batch_size=4, shuffle="window", window=2, seed=3, reading=reading)
        local = RelevanceLoader(
            RelevanceDataset(shards, head="0.1"), batch_size=4, shuffle="window", window=2, seed=3
        )
        batches = iter(loader)
        seen = [next(batches)]
        deadline = time.monotonic() + 60
        while len(fetched(cache)) < 5:  # the others come although nobody has asked for them yet
            assert time.monotonic() < deadline
            time.sleep(0.01)
        seen += batches
        assert [batch["keys"] for batch in seen] == [batch["keys"] for batch in local]


def test_a_data_set_pickles_without_its_connection(shards: Path, cache: CacheOptions) -> None:
    with FlakyStore(shards) as store:
        dataset = RelevanceDataset(store.url, head="0.1", cache=cache)
        dataset.batch([0])
        assert_same(pickle.loads(pickle.dumps(dataset)).batch(range(40)), everything(shards))


def test_another_cache_under_the_same_url_is_another_cache(tmp_path: Path, cache: CacheOptions) -> None:
    folder = forge(tmp_path / "store" / "x", [5] * 4)
    with FlakyStore(tmp_path / "store") as store:
        everything(f"{store.url}/x", cache=cache)
        forge(tmp_path / "store" / "y", [7] * 6)
        folder.rename(tmp_path / "old")
        (tmp_path / "store" / "y").rename(folder)
        assert_same(everything(f"{store.url}/x", cache=cache), everything(folder))


def test_a_remote_folder_is_verified_where_it_is(shards: Path, tmp_path: Path, cache: CacheOptions) -> None:
    there = shutil.copytree(shards, tmp_path / "there")
    with FlakyStore(there) as store:
        everything(store.url, cache=cache)  # what was fetched before vouches for nothing
        assert verify(store.url) == []
        assert store.times("2.tar") == 1
        assert verify(store.url, deep=True) == []
        assert store.times("2.tar") == 2

        tar = there / "shard-00000002.tar"
        whole = tar.read_bytes()
        tar.write_bytes(whole[:700] + bytes([whole[700] ^ 1]) + whole[701:])
        assert verify(store.url) == []
        (problem,) = verify(store.url, deep=True)
        assert problem.startswith(f"{store.url}/shard-00000002.tar: ")
        tar.write_bytes(whole[:-512])
        (problem,) = verify(store.url)
        assert problem.startswith(f"{store.url}/shard-00000002.tar: has {len(whole) - 512} bytes")
        tar.unlink()
        (there / "shard-00000003.json").write_bytes(b"{}")
        first, second = verify(store.url)
        assert f"{store.url}/shard-00000002.tar: there is no such file" in first
        assert f"{store.url}/shard-00000003.json: " in second
        (there / "manifest.json").unlink()
        assert "manifest.json: there is no such file" in verify(store.url, deep=True)[0]


@pytest.mark.parametrize("home", ["/proc/home", "file"])
def test_a_home_that_cannot_be_written_to_names_the_variable(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AMIX_CACHE", raising=False)
    monkeypatch.setenv("HOME", home)
    with FlakyStore(shards) as store, pytest.raises(StorageError, match="AMIX_CACHE=/path/to/folder"):
        RelevanceDataset(store.url)
    monkeypatch.setenv("AMIX_CACHE", "cache")
    with FlakyStore(shards) as store:
        dataset = RelevanceDataset(store.url, head="0.1")
        monkeypatch.chdir("/")
        assert dataset[0]["key"] == "000000000000"
