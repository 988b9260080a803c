"""Caches from strangers: whatever their files say, nothing runs, memory stays bounded, and errors are ours.

AMIX_FUZZ_EXAMPLES sets how many examples each property is tried on; a run of an hour takes some 40,000.
"""

import io
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amix.engine.base import canonical
from amix.engine.base.errors import AmixError, ShardError
from amix.engine.base.publish import sha256_bytes
from amix.loaders.shards.verify import verify
from amix.loaders.stream.batch import ArrayBatch
from amix.loaders.stream.dataset import RelevanceDataset
from tests.loaders.fixtures import by_name
from tests.loaders.forge import forge, layout_of

EXAMPLES = int(os.environ.get("AMIX_FUZZ_EXAMPLES", "150"))
fuzz = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
KINDS = {
    "plain": layout_of(),
    "rich": layout_of(heads=3, dtype="uint8", token_types=True, classes=3, text=True),
}
ENDS = {"tar": "tar", "index": "index.npy", "crc": "crc.npy"}


@pytest.fixture(scope="module", params=KINDS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven texts in three shards; read only."""
    lengths = [5, 9, 3, 12, 2, 7, 8, 4, 6, 10, 5]
    return forge(tmp_path_factory.mktemp(request.param) / "x", lengths, KINDS[request.param], per_shard=4)


def everything(folder: Path, **options: Any) -> ArrayBatch:  # Any: of a data set
    dataset = RelevanceDataset(folder, head="0.0|mean", **options)
    return dataset.batch(range(len(dataset)))


def copied(folder: Path, temporary: str | Path) -> Path:
    return Path(shutil.copytree(folder, Path(temporary) / "x"))


def reseal(folder: Path) -> None:
    """Make every hash and size agree with the files as they are now, as a stranger would."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    for entry in manifest["shards"]:
        record = json.loads((folder / f"{entry['name']}.json").read_bytes())
        for kind, end in ENDS.items():
            data = (folder / f"{entry['name']}.{end}").read_bytes()
            record["files"][kind] |= {"bytes": len(data), "sha256": sha256_bytes(data)}
        sealed = canonical.seal(record)
        (folder / f"{entry['name']}.json").write_bytes(sealed)
        entry |= {"record_sha256": sha256_bytes(sealed), "bytes": record["files"]["tar"]["bytes"]}
    manifest["bytes"] = sum(entry["bytes"] for entry in manifest["shards"])
    (folder / "manifest.json").write_bytes(canonical.seal(manifest))


def try_all(folder: Path) -> None:
    """Open, read and verify a folder; only errors of ours may come of it."""
    verify(folder)
    verify(folder, deep=True)
    try:
        dataset = RelevanceDataset(folder, head="0.0")
        dataset.lengths(), dataset.rows(), dataset.class_ids()
        dataset.batch(range(len(dataset)))
    except AmixError as problem:
        assert str(folder) in str(problem)


def same(one: ArrayBatch, other: ArrayBatch) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(value, by_name(other)[name]) for name, value in by_name(one).items()
    )


@fuzz
@given(st.data())
def test_no_flipped_bit_goes_unnoticed(whole: Path, data: st.DataObject) -> None:
    """Reading gives the right values or an error; the deep check finds every flip."""
    names = [path.name for path in sorted(whole.iterdir()) if path.name != "README.md"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = copied(whole, temporary)
        path = folder / data.draw(st.sampled_from(names), "file")
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1), "byte")] ^= 1 << data.draw(
            st.integers(0, 7), "bit"
        )
        path.write_bytes(content)
        assert any(path.stem.partition(".")[0] in problem for problem in verify(folder, deep=True))
        try:
            assert same(everything(folder), everything(whole))
        except ShardError as problem:
            assert path.stem.partition(".")[0] in str(problem)


def test_a_tar_cut_at_any_member_is_found(whole: Path, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path)
    tar = folder / "shard-00000001.tar"
    content = tar.read_bytes()
    with tarfile.open(tar) as members:
        ends = [member.offset for member in members.getmembers()]
    for end in ends:
        tar.write_bytes(content[:end])
        with pytest.raises(ShardError, match=r"shard-00000001\.tar"):
            RelevanceDataset(folder)
        tar.write_bytes(content[:end].ljust(len(content), b"\0"))  # of its old size
        assert any("shard-00000001.tar" in problem for problem in verify(folder, deep=True))
        try:
            assert same(everything(folder), everything(whole))  # class and text are not read from there
        except ShardError as problem:
            assert "shard-00000001.tar: sample" in str(problem)


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "../x", "/etc/passwd", "shard-00000000", "a" * 64, "\0", "float16", "<f8", "0.0"]),
    st.text(max_size=5),
    st.recursive(
        st.just([]), lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner)
    ),
)


def places(value: object, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield at
    match value:
        case dict():
            for key in sorted(value):
                yield from places(value[key], (*at, key))
        case list():
            for number in range(min(len(value), 3)):
                yield from places(value[number], (*at, number))


@fuzz
@given(st.data())
def test_documents_that_say_nonsense(whole: Path, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = copied(whole, temporary)
        name = data.draw(st.sampled_from(["manifest.json", "shard-00000001.json"]))
        document = json.loads((folder / name).read_bytes())
        *way, last = data.draw(st.sampled_from([at for at in places(document) if at]), "field")
        inner = document
        for step in way:
            inner = inner[step]
        if data.draw(st.booleans(), "removed"):
            del inner[last]
        else:
            inner[last] = data.draw(JUNK, "value")
        sealed = canonical.seal(document)
        (folder / name).write_bytes(sealed)
        if name != "manifest.json":
            manifest = json.loads((folder / "manifest.json").read_bytes())
            manifest["shards"][1]["record_sha256"] = sha256_bytes(sealed)
            (folder / "manifest.json").write_bytes(canonical.seal(manifest))
        try_all(folder)


@fuzz
@given(st.data())
def test_files_that_say_nonsense_with_the_right_hashes(whole: Path, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = copied(whole, temporary)
        path = folder / f"shard-00000001.{data.draw(st.sampled_from(sorted(ENDS.values())))}"
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(content)), "byte")
            junk = data.draw(
                st.binary(max_size=9) | st.sampled_from([b"\xff" * 8, b"\x80" + bytes(7)]), "junk"
            )
            content[at : at + data.draw(st.sampled_from([0, len(junk)]))] = junk
        path.write_bytes(content)
        reseal(folder)
        try_all(folder)


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


# Any: of a header.
def member(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def object_array(bomb: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([bomb], object), allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "kind",
    ["pickle", "object array", "link", "absolute", "dots", "twice", "dotted key", "huge", "gzip", "code"],
)
def test_tars_of_strangers(whole: Path, tmp_path: Path, kind: str) -> None:
    """A tar with a right size and hash; the deep check refuses it and names the member, and nothing is run."""
    folder, mark = copied(whole, tmp_path), tmp_path / "executed"
    bomb, key = Bomb(mark), "000000000004"
    code = (
        b"\x93NUMPY\x01\x00\x76\x00"
        + f"{{'descr': open({str(mark)!r}, 'w'), 'shape': (), }}".encode().ljust(117)
    )
    members = {
        "pickle": [member(f"{key}.input_ids.pyd", pickle.dumps(bomb))],
        "object array": [member(f"{key}.input_ids.npy", object_array(bomb))],
        "link": [member(f"{key}.input_ids.npy", type=tarfile.SYMTYPE, linkname="/etc/passwd")],
        "absolute": [member("/tmp/x.input_ids.npy", b"x")],
        "dots": [member(f"../{key}.input_ids.npy", b"x")],
        "twice": [member(f"{key}.input_ids.npy", b"x")] * 2,
        "dotted key": [member("a.b.input_ids.npy", b"x")],
        "huge": [member(f"{key}.input_ids.npy")],
        "gzip": [member(f"{key}.input_ids.npy", b"x")],
        "code": [member(f"{key}.input_ids.npy", code + b"\n")],
    }[kind]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz" if kind == "gzip" else "w") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    content = buffer.getvalue()
    if kind == "huge":
        content = content[:124] + b"%011o\0" % (8**11 - 1) + content[136:]
    (folder / "shard-00000001.tar").write_bytes(content)
    reseal(folder)
    with pytest.raises(ShardError, match=r"shard-00000001\.tar: sample 000000000004"):
        everything(folder)
    (problem,) = verify(folder, deep=True)
    assert re.search(r"shard-00000001\.tar: sample 000000000004: .*(input_ids|relevance)\.npy", problem)
    assert not mark.exists()


def test_claims_of_many_gigabytes_take_no_memory(whole: Path, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path)
    index = folder / "shard-00000001.index.npy"
    content = bytearray(index.read_bytes())
    entries = np.frombuffer(content, "<i4", offset=192).reshape(-1, 6)
    entries[1, 4] = 2**31 - 1  # tokens
    index.write_bytes(content)
    reseal(folder)
    code = """if True:
        import resource
        import sys
        import numpy
        from amix.engine.base.errors import ShardError
        from amix.loaders.stream.dataset import RelevanceDataset
        from amix.loaders.shards.verify import verify
        resource.setrlimit(resource.RLIMIT_DATA, (400 << 20, 400 << 20))
        dataset = RelevanceDataset(sys.argv[1], head="0.0")
        try:
            dataset.batch(range(len(dataset)))
        except ShardError as problem:
            print(problem)
        print(*verify(dataset.folder, deep=True))
    """
    run = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("shard-00000001.tar: ") == 2, run.stdout


def test_damage_can_be_left_out_and_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from amix.loaders.stream.loader import Reading, RelevanceLoader

    folder = forge(tmp_path / "x", [5] * 40, per_shard=8)
    index = RelevanceDataset(folder)._readers[2].index
    tar = folder / "shard-00000002.tar"
    content = bytearray(tar.read_bytes())
    for place in (1, 2, 3):
        content[int(index["offset"][place]) + 512 + 128] ^= 1  # ids
    tar.write_bytes(content)
    (folder / "shard-00000004.tar").unlink()
    with pytest.raises(ShardError, match="shard-00000004"):
        RelevanceDataset(folder)

    dataset = RelevanceDataset(folder, damaged="skip")
    assert (len(dataset), dataset.skipped) == (32, 8)
    assert dataset.batch(range(16, 24))["keys"] == [f"{row:012d}" for row in (16, 20, 21, 22, 23)]
    assert dataset.skipped == 11
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2  # a shard each
    for workers in (0, 2):
        loader = RelevanceLoader(dataset, batch_size=1, reading=Reading(workers=workers))
        keys = sorted(key for batch in loader for key in batch["keys"])
        assert keys == [f"{row:012d}" for row in range(32) if row not in (17, 18, 19)]
        assert loader.skipped == 3
        assert loader.state_dict()["batches"] == 32
    relabelled = dataset.with_labels(np.arange(32))
    assert relabelled.batch(range(16, 24))["labels"].tolist() == [16, 20, 21, 22, 23]
