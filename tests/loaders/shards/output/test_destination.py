"""A folder and a store take the same files, keep other runs out and are cleared of what killed runs left."""

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from amix.engine.base.errors import ShardError, StorageError, UsageError
from amix.loaders.shards.manifest import MANIFEST, Manifest
from amix.loaders.shards.output import Destination, destination, lease
from amix.loaders.shards.output.documents import read_rejects
from amix.loaders.shards.output.scratch import scratch_folder, sweep_scratch
from amix.loaders.shards.rewrite.repack import RepackOptions, repack
from amix.loaders.shards.verify import verify
from amix.loaders.shards.workspace import Workspace, require_place
from tests.loaders.conftest import contents
from tests.loaders.forge import forge
from tests.loaders.s3 import BUCKET, files, objects, s3_options

KINDS = ("folder", "file", "memory")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve texts in three shards, one row rejected; read only."""
    return forge(
        tmp_path_factory.mktemp("source") / "x", [4, 9, 5, 7, 3, 8, 6, 5, 4, 9, 2], per_shard=4, rejects=(7,)
    )


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT", 0.05)
    monkeypatch.setattr(lease, "PATIENCE", 0.3)


@pytest.fixture(params=KINDS)
def out(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path | str]:
    """A new place of each kind."""
    if request.param == "folder":
        yield tmp_path / "out"
    elif request.param == "file":
        yield f"file://{tmp_path}/out"
    else:
        yield "memory://out"
        system = fsspec.filesystem("memory")
        if system.exists("/out"):
            system.rm("/out", recursive=True)


@pytest.fixture
def place(out: Path | str) -> Destination:
    return destination(out)


def held_by(place: Destination) -> dict[str, bytes]:
    return {name: place.read(name) for name in sorted(place.sizes())}


def test_the_same_bytes_are_published_wherever_it_is(source: Path, tmp_path: Path, out: Path | str) -> None:
    options = RepackOptions(samples_per_shard=5)
    repack([source], tmp_path / "local", options)
    manifest = repack([source], out, options)
    assert held_by(destination(out)) == contents(tmp_path / "local")
    assert manifest.sha256 == Manifest.read(tmp_path / "local").sha256
    assert read_rejects(destination(out)) == list(Manifest.read(source).rejects())

    written: list[object] = []
    again = repack([source], out, options, on_unit=written.append)
    assert (again.sha256, written) == (manifest.sha256, [])  # it is whole, and was left as it is


def test_what_is_missing_or_damaged_is_built_again(source: Path, out: Path | str, place: Destination) -> None:
    repack([source], out)
    whole = held_by(place)
    place.remove([MANIFEST, "shard-00000000.crc.npy"])
    place.write("shard-00000001.tar", b"short")
    place.write("shard-00000002.json", b"{}")
    units: list[int] = []
    repack([source], out, on_unit=lambda record: units.append(record.unit))
    assert units == [0, 1, 2]
    assert held_by(place) == whole


def test_what_a_killed_run_left_is_removed(source: Path, out: Path | str, place: Destination) -> None:
    repack([source], out)
    whole = held_by(place)
    place.remove([MANIFEST])
    place.write("shard-00000007.tar", whole["shard-00000001.tar"])  # its record never came
    place.write(".place.tmp-0123abcd", b"\0")
    repack([source], out)
    assert held_by(place) == whole


def test_another_recipe_is_refused_and_restart_begins_anew(
    source: Path, out: Path | str, place: Destination
) -> None:
    repack([source], out)
    before = held_by(place)
    with pytest.raises(ShardError, match=r"out: was begun with samples_per_shard = 4, now it is 6\."):
        repack([source], out, RepackOptions(samples_per_shard=6))
    assert held_by(place) == before
    manifest = repack([source], out, RepackOptions(samples_per_shard=6, restart=True))
    assert len(manifest.shards) == 2
    assert set(place.sizes()) == before.keys() - {
        f"shard-00000002.{end}" for end in ("tar", "index.npy", "crc.npy", "json")
    }


@pytest.mark.parametrize("name", ["notes.txt", "shard-00000000.tar"])
def test_other_work_is_refused_and_kept(source: Path, out: Path | str, place: Destination, name: str) -> None:
    require_place(place)
    with place.held():
        place.write(name, b"somebody else's " * 64)
    with pytest.raises(UsageError, match=rf"out: already holds other work \({name}\)"):
        repack([source], out)
    assert held_by(place) == {name: b"somebody else's " * 64}


def test_a_second_run_is_refused_while_the_first_lives(
    source: Path, out: Path | str, place: Destination
) -> None:
    with Workspace(place), pytest.raises(ShardError, match="another process is writing shards there"):
        repack([source], out)
    repack([source], out)  # the first has ended


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/out"


def test_a_lease_whose_holder_is_silent_is_taken_over_and_the_holder_stops(
    source: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = destination(url)
    late: list[object] = []
    monkeypatch.setattr(lease.Lease, "_beat", lambda self, over: None)  # as if its process were stopped
    with first.held():
        worker = pickle.loads(pickle.dumps(first))
        worker.commit("shard-00000000.json", b"before")
        first.remove(["shard-00000000.json"])
        manifest = repack([source], url, on_unit=late.append)
        with pytest.raises(ShardError, match=r"out: this run lost its place to another one.*is kept"):
            worker.commit("shard-00000009.json", b"after")
        with pytest.raises(ShardError, match="lost its place"), worker.file("shard-00000009.tar") as file:
            file.write(b"after")
    assert len(late) == 3
    assert Manifest.read(Path(url.removeprefix("file://"))).sha256 == manifest.sha256
    assert verify(Path(url.removeprefix("file://")), deep=True) == []


def test_a_record_is_never_overwritten_with_another(url: str) -> None:
    place = destination(url)
    with place.held():
        place.commit("shard-00000000.json", b"one")
        place.commit("shard-00000000.json", b"one")  # sent twice, since the first answer was lost
        with pytest.raises(ShardError, match=r"shard-00000000\.json: another run has published it"):
            place.commit("shard-00000000.json", b"two")
        assert place.read("shard-00000000.json") == b"one"


def test_of_two_that_take_over_at_once_only_one_publishes(url: str) -> None:
    places = [destination(url) for _ in range(2)]
    silent = destination(url)
    lease_file = Path(url.removeprefix("file://")) / lease.LEASE
    silent.require_writable()
    lease_file.write_bytes(b"somebody 3\n")
    published: list[str] = []

    def drive(number: int) -> None:
        try:
            with places[number].held():
                threading.Event().wait(0.3)
                places[number].commit("shard-00000000.json", str(number).encode())
                published.append(str(number))
        except ShardError:
            pass

    threads = [threading.Thread(target=drive, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert published == [silent.read("shard-00000000.json").decode()]
    assert not lease_file.exists()


def test_what_was_on_its_way_is_removed_when_its_process_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = """if True:
        import os, signal
        from amix.loaders.shards.output.scratch import scratch_folder
        with scratch_folder() as folder:
            (folder / "shard-00000000.tar").write_bytes(bytes(9))
            os.kill(os.getpid(), signal.SIGKILL)
    """
    ended = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(tmp_path)}, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    with scratch_folder() as mine:
        assert len(list(tmp_path.iterdir())) == 2
        sweep_scratch()
        assert list(tmp_path.iterdir()) == [mine]
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_on_the_way_names_the_variable(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    place = destination(url)
    with pytest.raises(StorageError, match="TMPDIR=/path/to/folder"), place.file("shard-00000000.tar"):
        pass


@pytest.mark.parametrize("url", ["hf://datasets/me/cache", "hf://me/cache"])
def test_a_repository_on_the_hub_is_refused_with_what_to_do(url: str) -> None:
    with pytest.raises(UsageError, match=r"takes commits.*amix push"):
        destination(url)


def test_uploads_in_parts_that_nobody_will_finish_are_aborted(source: Path, s3: str) -> None:
    system = files(s3)
    for key in ("parts/shard-00000000.tar", "parts2/shard-00000000.tar"):
        system.call_s3("create_multipart_upload", Bucket=BUCKET, Key=key)
    with Workspace(destination(f"s3://{BUCKET}/parts", s3_options(s3))):
        pass
    (left,) = system.list_multipart_uploads(BUCKET)
    assert left["Key"] == "parts2/shard-00000000.tar"  # somebody else's
    assert objects(s3, "parts") == {}


def test_a_bucket_that_is_not_there_is_named_without_secrets(s3: str) -> None:
    with pytest.raises(StorageError, match=r"s3://nowhere/x/.*there is no such file or folder") as problem:
        require_place(destination("s3://nowhere/x", s3_options(s3)))
    assert "s3cr3t" not in str(problem.value)
