import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

from amix.engine.base.errors import FetchError, ShardError, StorageError, UsageError
from amix.loaders.shards.remote import CacheOptions
from amix.loaders.shards.remote.push import push
from amix.loaders.stores import transfer
from amix.loaders.stream.dataset import RelevanceDataset
from tests.loaders.fixtures import assert_same
from tests.loaders.flaky import Fault, FlakyStore
from tests.loaders.forge import forge, layout_of
from tests.loaders.s3 import BUCKET, s3_options

LENGTHS = np.random.default_rng(4).integers(2, 30, 40).tolist()


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return forge(tmp_path_factory.mktemp("push") / "x", LENGTHS, per_shard=8, rejects=(7,))


@pytest.fixture
def cache(tmp_path: Path) -> CacheOptions:
    return CacheOptions(folder=tmp_path / "cache")


def assert_reads_like(location: str | Path, shards: Path, **options: Any) -> None:  # Any: of a data set
    there, here = (
        RelevanceDataset(location, head="0.1", **options),
        RelevanceDataset(shards, head="0.1"),
    )
    assert list(there.manifest.rejects()) == list(here.manifest.rejects())
    assert_same(there.batch(range(len(here))), here.batch(range(len(here))))


class FolderHub:
    """A stand-in for the Hub: data sets are folders, and a commit copies files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.commits: list[tuple[str, list[str]]] = []

    def create_repo(self, repo_id: str, *, repo_type: str, private: bool | None, exist_ok: bool) -> None:
        assert repo_type == "dataset"
        (self.root / "datasets" / repo_id).mkdir(parents=True, exist_ok=exist_ok)

    def upload_folder(
        self,
        *,
        repo_id: str,
        repo_type: str,
        folder_path: str,
        allow_patterns: list[str],
        commit_message: str,
    ) -> None:
        assert repo_type == "dataset"
        found = sorted(path.name for path in Path(folder_path).iterdir() if path.name in allow_patterns)
        for name in found:
            shutil.copy(Path(folder_path) / name, self.root / "datasets" / repo_id / name)
        self.commits.append((commit_message, found))


class RefusingHub(FolderHub):
    def upload_folder(self, **_: object) -> None:
        raise OSError("403 Forbidden")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderHub:
    """The stand-in, which also answers for hf:// URLs."""
    hub = FolderHub(tmp_path / "hub")

    class HubFiles(DirFileSystem):  # type: ignore[misc]  # fsspec has no types
        protocol = "hf"

        def __init__(self, **_: object) -> None:
            super().__init__(path=str(hub.root), fs=LocalFileSystem(), skip_instance_cache=True)

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return path.removeprefix("hf://")

    monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, "hf", HubFiles)  # as a first import would
    return hub


@pytest.mark.parametrize("target", ["me/cache", "hf://datasets/me/cache"])
def test_what_is_pushed_to_the_hub_reads_like_the_folder(
    shards: Path, hub: FolderHub, cache: CacheOptions, target: str
) -> None:
    url = push(shards, target, hub=hub)
    assert url == "hf://datasets/me/cache"
    ((message, names),) = hub.commits  # one commit, so that nobody meets half of it
    assert message == "Add 39 texts with relevance"
    assert set(names) == {path.name for path in shards.iterdir()}
    assert_reads_like(url, shards, cache=cache)


def test_the_card_tells_what_the_cache_is_and_how_to_load_it(tmp_path: Path, hub: FolderHub) -> None:
    shards = forge(
        tmp_path / "x",
        LENGTHS,
        layout_of(heads=4, dtype="uint8"),
        names=("no|yes", "b", "c"),
        fingerprint="f" * 64,
    )
    push(shards, "me/cache", hub=hub)
    text = (hub.root / "datasets/me/cache/README.md").read_text()
    _, head, body = text.split("---\n", 2)
    front = yaml.safe_load(head)
    assert front["configs"][0]["data_files"][0]["path"] == "shard-*.tar"
    assert front["size_categories"] == ["n<1K"]
    for part in (
        "layers 0, 1: heads 0, 1",
        "f" * 64,
        "0" * 64,
        r"0 = no\|yes, 1 = b",
        "square-root code",
        f"| longest text | {max(LENGTHS)} tokens; none was cut, the limit was 512 |",
        'RelevanceDataset("hf://datasets/me/cache", head="0.mean")',
        'load_dataset("me/cache")',
    ):
        assert part in body


def test_a_damaged_folder_is_not_sent(tmp_path: Path, shards: Path, hub: FolderHub) -> None:
    damaged = Path(shutil.copytree(shards, tmp_path / "damaged"))
    (damaged / "shard-00000001.tar").write_bytes(b"")
    with pytest.raises(ShardError, match=r"nothing was sent.*shard-00000001\.tar"):
        push(damaged, "me/cache", hub=hub)
    assert not hub.root.exists()


def test_a_refusal_says_what_to_do(tmp_path: Path, shards: Path) -> None:
    with pytest.raises(StorageError, match=r"me/cache: .*403 Forbidden.*hf auth login"):
        push(shards, "me/cache", hub=RefusingHub(tmp_path))


def test_other_targets_are_refused(shards: Path) -> None:
    with pytest.raises(UsageError, match="a/b/c: is neither"):
        push(shards, "a/b/c")


@pytest.mark.parametrize("fault", [None, "500", "short", "wrong"])
def test_a_bucket_that_fails_now_and_then(
    shards: Path, cache: CacheOptions, s3: str, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "FIRST_PAUSE", 0.01)
    url = f"s3://{BUCKET}/{fault}"
    assert push(shards, url, storage_options=s3_options(s3)) == url

    def fails(method: str, path: str, before: int) -> Fault:
        is_shard = path.endswith((".tar", ".index.npy"))
        return fault if method == "GET" and is_shard and before < 2 else None

    with FlakyStore(s3, fails) as store:
        assert_reads_like(url, shards, cache=cache, storage_options=s3_options(store.url))
        # What failed was asked for again.
        assert store.times("0.tar") >= (1 if fault is None else 3)


def test_a_bucket_that_is_not_there(cache: CacheOptions, s3: str) -> None:
    with pytest.raises(FetchError, match=r"s3://nowhere/x/manifest\.json: ") as problem:
        RelevanceDataset("s3://nowhere/x", cache=cache, storage_options=s3_options(s3))
    assert "s3cr3t" not in str(problem.value)


def test_the_manifest_is_sent_last(shards: Path, s3: str) -> None:
    with FlakyStore(s3) as store:
        push(shards, f"s3://{BUCKET}/order", storage_options=s3_options(store.url))
    sent = [path for method, path in store.requests if method == "PUT"]
    assert sent[-1].endswith("manifest.json")
    assert len(sent) == len(list(shards.iterdir()))


def test_a_folder_that_is_not_there_yet_is_made(shards: Path, tmp_path: Path, cache: CacheOptions) -> None:
    url = push(shards, f"file://{tmp_path}/new/place")
    assert_reads_like(url, shards, cache=cache)


def test_a_place_that_cannot_be_written_to_is_said_to_be(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"file/cache.*: .*permission to write to it"):
        push(shards, f"file://{tmp_path}/file/cache")


def test_a_hub_that_is_out_of_reach_is_said_to_be(shards: Path) -> None:
    class ConnectError(Exception):
        """As httpx calls it, which is no OSError."""

    class Hub(FolderHub):
        def create_repo(self, *_: object, **__: object) -> None:
            raise ConnectError("Name or service not known")

    with pytest.raises(StorageError, match=r"me/cache: the Hub cannot be reached \(ConnectError: .*network"):
        push(shards, "me/cache", hub=Hub(Path()))
