"""Where a command may write, and what it leaves there: mount points, links, `.`, full disks, killed and rival runs."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from amix.engine.base.errors import StorageError, UsageError
from amix.engine.base.place import (
    make_folder,
    output_folder,
    require_writable,
    require_writable_file,
)

Mounts = Callable[..., "subprocess.CompletedProcess[str]"]


def publish(out: Path) -> None:
    """Write two files to `out`, as a command does."""
    with output_folder(out, "an extractor", last="record") as stage:
        (stage / "record").write_text("all")
        (stage / "part").write_text("x" * 10)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


WHOLE = {"record": "all", "part": "x" * 10}


@pytest.mark.parametrize("place", ["absent", "absent/deeper", "empty", "link", "link/"])
def test_a_folder_that_is_absent_empty_or_linked_to_is_filled(place: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    publish(tmp_path / place)
    assert contents(tmp_path / place) == WHOLE
    assert (tmp_path / "link").is_symlink()


def test_the_working_directory_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    publish(Path())
    assert contents(tmp_path) == WHOLE
    assert Path.cwd() == tmp_path


def test_a_mount_point_below_a_read_only_folder_is_filled(tmp_path: Path, private_mounts: Mounts) -> None:
    code = "import sys; from tests.engine.base.test_place import Path, publish; publish(Path(sys.argv[1]))"
    script = """
        mkdir "$AT/above"; mount -t tmpfs tmpfs "$AT/above"; mkdir "$AT/above/volume"
        mount -t tmpfs -o size=1m tmpfs "$AT/above/volume"; mount -o remount,ro "$AT/above"
        "$@" "$AT/above/volume"; cat "$AT/above/volume/record"
        code=0; "$@" "$AT/above/other" 2>&1 || code=$?; echo $code
    """
    done = private_mounts(script, sys.executable, "-c", code, AT=tmp_path, PYTHONPATH=Path.cwd())
    assert done.stdout.startswith("all")
    assert (
        f"{tmp_path}/above/other: cannot be written: the file system is read-only. Nothing has been"
        in done.stdout
    )
    assert done.stdout.endswith("1\n")


@pytest.mark.parametrize("made", [True, False])
def test_what_fails_leaves_the_place_as_it_was(made: bool, tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    if not made:
        out.mkdir(parents=True)
    with pytest.raises(RuntimeError), output_folder(out, "an extractor", last="record") as stage:
        (stage / "part").write_text("x")
        raise RuntimeError
    assert list(tmp_path.rglob("*")) == ([] if made else [tmp_path / "a", out])


def test_a_full_disk_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    with (
        pytest.raises(
            StorageError, match=r"out: cannot be written: the disk is full\. Nothing is left there\. Make"
        ),
        output_folder(tmp_path / "out", "an extractor", last="record"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not list(tmp_path.iterdir())


def test_the_last_file_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    renamed = []
    rename = Path.rename

    def noted(self: Path, target: Path) -> Path:
        renamed.append(target.name)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", noted)
    with output_folder(tmp_path / "out", "an extractor", last="a") as stage:
        for name in "bac":
            (stage / name).touch()
    assert renamed == ["b", "c", "a"]


def test_files_that_came_meanwhile_are_kept(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="already holds other work"),
        output_folder(tmp_path / "out", "an extractor", last="record") as stage,
    ):
        (stage / "record").write_text("ours")
        (tmp_path / "out" / "record").write_text("theirs")
    assert contents(tmp_path / "out") == {"record": "theirs"}


def test_two_runs_do_not_write_to_one_place(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with output_folder(out, "an extractor", last="record") as stage:
        with pytest.raises(StorageError, match=r"out: another process is writing an extractor there"):
            publish(out)
        (stage / "record").write_text("first")
    assert contents(out) == {"record": "first"}


KILLED = """
import os, signal, sys
from pathlib import Path
from amix.engine.base.place import output_folder
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has it ignored
with output_folder(Path(sys.argv[1]), "an extractor", last="record") as stage:
    (stage / "weights").write_bytes(bytes(1000))
    os.kill(os.getpid(), int(sys.argv[2]))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_what_a_run_that_was_ended_left_is_gone_with_it_or_with_the_next(number: int, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, out, str(int(number))], capture_output=True, text=True, check=False
    )
    if number == signal.SIGKILL:
        assert done.returncode == -number
        assert len(list(out.iterdir())) == 1
    else:
        assert done.returncode == 128 + number
        assert f"{out}: ended by {signal.Signals(number).name}. Nothing was written there." in done.stderr
        assert not list(tmp_path.iterdir())
    publish(out)
    assert contents(out) == WHOLE


def test_places_that_cannot_be_used_are_told_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to("absent")
    for place, message in (
        (tmp_path / "file", "file is not a folder"),
        (tmp_path / "file" / "out", "file is not a folder"),
        (tmp_path / "nowhere" / "out", "nowhere is a link that leads nowhere"),
        (Path("/proc/out"), r"/proc/out: cannot be written"),
        (tmp_path / ("x" * 300), r"xxx: cannot be written \(File name too long\)"),
    ):
        with pytest.raises((UsageError, StorageError), match=message):
            require_writable(place)
        with pytest.raises((UsageError, StorageError), match=str(place)):
            make_folder(place)
    for path, message in (
        (tmp_path, "is a folder; give the name of a file"),
        (tmp_path / "absent" / "page.html", "absent: no such folder"),
        (Path("/proc/page.html"), "/proc: cannot be written"),
    ):
        with pytest.raises((UsageError, StorageError), match=message):
            require_writable_file(path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "nowhere"]


def test_trying_a_place_leaves_nothing_there(tmp_path: Path) -> None:
    (tmp_path / ".page.html.tmp-0123abcd").touch()  # of a run that was killed
    (tmp_path / ".other.html.tmp-0123abcd").touch()
    require_writable(tmp_path / "a" / "b")
    require_writable_file(tmp_path / "page.html")
    assert [path.name for path in tmp_path.iterdir()] == [".other.html.tmp-0123abcd"]
