"""Folders that many tests read: made once in a run, however many processes the tests are spread over."""

import contextlib
import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path


class SharedFolders:
    """Folders by name, below one folder that all processes of a run of pytest know."""

    def __init__(self, root: Path) -> None:
        """Take the folder that holds them all."""
        self._root = root
        self._used: set[str] = set()

    def make(self, name: str, build: Callable[[Path], object]) -> Path:
        """Return the folder `name`, filled by `build(folder)` if no process did so before. It is read only."""
        folder, listing = self._root / name, self._root / f"{name}.json"
        self._root.mkdir(exist_ok=True)
        with locked(self._root / f"{name}.lock"):
            if not listing.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a build that failed
                folder.mkdir()
                build(folder)
                listing.write_text(json.dumps(files_of(folder)))
        self._used.add(name)
        return folder

    def changed(self) -> list[str]:
        """Return the names of folders that differ from what was built."""
        return [
            name
            for name in sorted(self._used)
            if json.loads((self._root / f"{name}.json").read_text()) != files_of(self._root / name)
        ]


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that only one process has at a time."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # closing would not do, if a forked child holds the file too


def files_of(folder: Path) -> dict[str, list[int]]:
    """Return size and time of change of every file in `folder`."""
    return {
        path.relative_to(folder).as_posix(): [path.stat().st_size, path.stat().st_mtime_ns]
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
