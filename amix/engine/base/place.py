"""The place that a command writes to: tried before the work, kept from other processes during it, left clean after it.

Everything is written in the folder itself, never beside it: so it may be a mount point, a link to a folder, `.`, or in
a folder that cannot be written to.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from amix.engine.base.errors import StorageError, UsageError
from amix.engine.base.processes import locked
from amix.engine.base.publish import (
    explained,
    flush_files,
    fsync_folder,
    require_vacant,
    sweep,
    temporary_sibling,
)
from amix.engine.base.stopping import signals_end, undisturbed

_PROBE = bytes(4096)  # a full disk still takes an empty file


def require_visible(path: Path) -> None:
    """Raise OSError where the system does not say whether `path` is there, as for a name that is too long.

    Path.exists and its like answer False to that from Python 3.14 on.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path.stat()


def require_writable(folder: Path) -> None:
    """Raise UsageError or StorageError unless files can be written to a folder, made first where it is absent.

    It is tried, in the folder or the nearest one above that exists, and nothing is left there.
    """
    with _refused(folder):
        require_visible(folder)
        nearest = next(each for each in (folder, *folder.absolute().parents) if os.path.lexists(each))
        if not nearest.is_dir():
            what = "a link that leads nowhere" if nearest.is_symlink() else "not a folder"
            raise UsageError(f"{folder}: {nearest} is {what}. Name another place.")
        probe = temporary_sibling(nearest / "place")
        try:
            probe.write_bytes(_PROBE)
        finally:
            with contextlib.suppress(OSError):  # the first problem is the one to report
                probe.unlink(missing_ok=True)


def require_writable_file(path: Path) -> None:
    """Raise UsageError or StorageError unless `path` can be written as a file, in a folder that exists."""
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; give the name of a file in it.")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent}: no such folder. Make it, or name another file.")
    require_writable(path.parent)
    sweep(path.parent, path.name)


def make_folder(folder: Path) -> list[Path]:
    """Make a folder and those above it, durably, and return those that were absent, the deepest first.

    Raises StorageError, or UsageError where a file has the name.
    """
    with _refused(folder):
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise UsageError(f"{folder}: is not a folder. Name another place.") from None
    for each in missing:
        with contextlib.suppress(PermissionError):  # a folder that may be written, but not read
            fsync_folder(each.parent)
    return missing


@contextlib.contextmanager
def output_folder(out: Path, what: str, last: str) -> Iterator[Path]:
    """Yield a hidden folder inside `out`, whose files become those of `out` when the block succeeds.

    out: absent or empty.  what: it will hold, for messages: `an extractor`.  last: the file that makes it complete, and
    gets its name after all others.
    The folder is locked meanwhile, and cleared of what a killed run left in it. When the block fails, or a signal ends
    it, `out` is as it was. Raises UsageError or StorageError for a place that cannot be used.
    """
    require_writable(out)
    require_vacant(out, what)
    out = out.absolute()
    made = make_folder(out)
    stage = temporary_sibling(out / "unfinished")
    with (
        locked(out, f"writing {what}", StorageError),
        signals_end(lambda name: f"{out}: ended by {name}. Nothing was written there."),
    ):
        try:
            with explained(out, kept=False):
                sweep(out)
                stage.mkdir()
                yield stage
                flush_files(stage)
                require_vacant(out, what)  # nobody has filled it meanwhile
                _move(stage, out, last)
        except BaseException:
            with undisturbed():
                _remove(stage, made)
            raise


@contextlib.contextmanager
def _refused(folder: Path) -> Iterator[None]:
    """Turn whatever the system raises in the block into a StorageError."""
    try:
        with explained(folder, begun=False):
            yield
    except OSError as problem:
        raise StorageError(
            f"{folder}: cannot be written ({problem.strerror}). Name another place."
        ) from problem


def _move(stage: Path, out: Path, last: str) -> None:
    with undisturbed():
        names = sorted(path.name for path in stage.iterdir())
        for name in (*(name for name in names if name != last), last):
            if name == last:
                fsync_folder(out)
            (stage / name).rename(out / name)
        stage.rmdir()
        fsync_folder(out)


def _remove(stage: Path, made: Sequence[Path]) -> None:
    shutil.rmtree(stage, ignore_errors=True)
    for folder in made:
        with contextlib.suppress(OSError):  # somebody else has put something there
            folder.rmdir()
