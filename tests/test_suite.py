"""What the tests' own tools promise."""

import re
from pathlib import Path

import pytest

from tests.shared import SharedFolders
from tests.slowness import listed

ROOT = Path(__file__).parents[1]


def test_every_slow_test_is_one_that_there_is() -> None:
    for line in listed():
        file, *_, name = line.split("::")
        what = rf"^\s*def {re.escape(name.removeprefix('@'))}\("
        assert re.search(what, (ROOT / file).read_text(), re.MULTILINE), f"{line} is not there: make slow"


def test_a_shared_folder_is_built_once_and_watched(tmp_path: Path) -> None:
    built: list[Path] = []

    def build(folder: Path) -> None:
        built.append(folder)
        (folder / "file").write_text("x")

    for folders in (SharedFolders(tmp_path / "run"), SharedFolders(tmp_path / "run")):  # as of two processes
        folder = folders.make("name", build)
        assert (folder / "file").read_text() == "x"
        assert folders.changed() == []
    assert built == [folder]
    (folder / "more").touch()
    assert folders.changed() == ["name"]


def test_a_shared_folder_whose_build_failed_is_built_anew(tmp_path: Path) -> None:
    folders = SharedFolders(tmp_path / "run")

    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise ValueError("full")

    with pytest.raises(ValueError, match="full"):
        folders.make("name", fail)
    folder = folders.make("name", lambda folder: (folder / "whole").touch())
    assert [path.name for path in folder.iterdir()] == ["whole"]
