import errno
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amix.engine.base import canonical
from amix.engine.base.errors import AmixError, ShardError, StorageError, TrainError, UsageError
from amix.engine.base.publish import (
    atomic_writer,
    explained,
    require_vacant,
    sha256_file,
    staged_folder,
    sweep,
    write_atomic,
)

json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text("aé\n☃"),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text("ab"), inner, max_size=3)),
)


@given(st.dictionaries(st.text("abc", min_size=1), json_values))
def test_sealed_documents_come_back_whole(document: dict[str, object]) -> None:
    data = canonical.seal(document)
    body = canonical.unseal(data, "file", error=ShardError)
    assert canonical.seal(body) == data
    assert {**document, "sha256": body["sha256"]} == body


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_any_changed_byte_is_found(position: int, change: int) -> None:
    data = bytearray(canonical.seal({"heads": [[0, 1]], "samples": 12, "name": "shard-é"}))
    data[position % len(data)] ^= change
    with pytest.raises(ShardError, match=r"manifest\.json"):
        canonical.unseal(bytes(data), "manifest.json", error=ShardError)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"null", b'{"a":NaN}', b"\xff", b"[" * 100_000])
@pytest.mark.parametrize("error", [ShardError, TrainError])
def test_what_is_not_a_document_is_refused_with_the_callers_error(
    data: bytes, error: type[AmixError]
) -> None:
    with pytest.raises(error, match="record"):
        canonical.unseal(data, "record", error=error)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")
    with pytest.raises(RuntimeError), atomic_writer(path) as file:
        file.write(b"new")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_killed_write_leaves_no_final_name_and_is_swept(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, pathlib; from amix.engine.base.publish import atomic_writer\n"
        "with atomic_writer(pathlib.Path(sys.argv[1])) as f:\n"
        "    f.write(b'half'); f.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "file")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "file").exists()
    assert len(list(tmp_path.iterdir())) == 1
    sweep(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full.*Make room there and run"),
        (OSError(errno.EROFS, "Read-only file system"), "read-only.*Make it writable and run"),
        (RuntimeError("I/O error: failed (os error 28)"), "the disk is full"),  # as safetensors says it
    ],
)
def test_what_a_disk_refuses_is_a_storage_error_with_a_remedy(
    problem: Exception, message: str, tmp_path: Path
) -> None:
    with (
        pytest.raises(StorageError, match=f"{tmp_path}: cannot be written: .*{message}"),
        explained(tmp_path),
    ):
        raise problem


@pytest.mark.parametrize(
    "problem", [OSError(errno.ENOENT, "gone"), ValueError("os error 28"), UsageError("no")]
)
def test_other_problems_pass_through(problem: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(problem)) as raised, explained(tmp_path):
        raise problem
    assert raised.value is problem


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(RuntimeError), staged_folder(out, "a model") as stage:
        (stage / "part").write_text("x")
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with staged_folder(out, "a model") as stage:
        (stage / "part").write_text("x")
        assert not out.exists()
    assert (out / "part").read_text() == "x"


def test_other_work_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        require_vacant(tmp_path, "an extractor")
    with pytest.raises(UsageError, match="is not a folder"):
        require_vacant(tmp_path / "thesis.tex", "an extractor")
    assert sha256_file(tmp_path / "thesis.tex").startswith("2d711642")
    (tmp_path / "browsed").mkdir()
    (tmp_path / "browsed" / ".DS_Store").touch()
    require_vacant(tmp_path / "browsed", "an extractor")
    require_vacant(tmp_path / "absent", "an extractor")
