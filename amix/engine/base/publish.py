"""Atomic publishing: a file or folder has its final name only when it is whole and on the disk."""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from amix.engine.base.errors import StorageError, UsageError
from amix.engine.base.kinds import is_stray, other_work

_LEFTOVER = re.compile(r"\.(?P<name>.+)\.tmp-[0-9a-f]+")  # the name of everything unpublished

# Error number of a failed write -> what it means, and what to do.
_REFUSALS = {
    errno.ENOSPC: ("the disk is full", "Make room there"),
    errno.EDQUOT: ("the disk quota is used up", "Make room there, or have the quota raised,"),
    errno.EFBIG: ("the file would be larger than allowed there", "Raise the limit (ulimit -f)"),
    errno.EROFS: ("the file system is read-only", "Make it writable"),
    errno.EACCES: ("permission denied", "Change its permissions"),
    errno.EPERM: ("not permitted", "Change its permissions"),
    errno.EMFILE: ("too many files are open", "Raise the limit (ulimit -n)"),
    errno.EIO: ("the disk reports an input/output error", "Have it checked"),
}


def sha256_bytes(data: bytes) -> str:
    """Return the sha256 of `data` in hex."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file's bytes in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def explained(folder: Path, *, kept: bool = True, begun: bool = True) -> Iterator[None]:
    """Turn a failed write of the block to `folder` into a StorageError that says what to do.

    kept: what was written before the failure stays.  begun: False where nothing has been done yet.
    """
    try:
        yield
    except Exception as problem:
        number = problem.errno if isinstance(problem, OSError) else _number_in(problem)
        if number not in _REFUSALS:
            raise
        what, remedy = _REFUSALS[number]
        state = "What was finished there is complete and is kept" if kept else "Nothing is left there"
        raise StorageError(
            f"{folder}: cannot be written: {what}. {state if begun else 'Nothing has been done yet'}. "
            f"{remedy} and run the same command again, or name another folder."
        ) from problem


def _number_in(problem: Exception) -> int | None:
    """Return the error number that Rust libraries (safetensors, tokenizers) have in their message: `(os error 28)`."""
    match = re.search(r"\(os error (\d+)\)", str(problem))
    return int(match[1]) if match else None


def fsync_folder(folder: Path) -> None:
    """Flush the names in `folder` to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_sibling(path: Path) -> Path:
    """Return an unused name in the folder of `path`, so that a rename stays on one file system."""
    return path.with_name(f".{path.name}.tmp-{secrets.token_hex(4)}")


def is_leftover(name: str) -> bool:
    """Tell whether a file or folder of this name is unpublished: in use, or left by a writer that was killed."""
    return _LEFTOVER.fullmatch(name) is not None


@contextlib.contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """Yield a binary file that becomes `path` when the block succeeds, and is removed when it fails.

    The data is flushed to the disk before the rename; flushing the folder (`fsync_folder`) is left to the caller.
    Raises StorageError when the disk is full, or cannot be written to for another reason that a user can remove.
    """
    temporary = temporary_sibling(path)
    with explained(path.parent):
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):  # the first problem is the one to report
                temporary.unlink(missing_ok=True)
            raise


def write_atomic(path: Path, data: bytes) -> None:
    """Publish `data` as `path`: temporary file, flush, fsync, atomic replace, fsync of the folder."""
    with atomic_writer(path) as file:
        file.write(data)
    fsync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Publish a text. What UTF-8 cannot hold, such as the name of a file in Latin-1, becomes an escape."""
    write_atomic(path, text.encode(errors="backslashreplace"))


def is_utf8(path: Path) -> bool:
    """Tell whether the bytes of a path are UTF-8, as libraries need it that are not written in Python."""
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:  # Python carries other bytes as surrogates
        return False
    return True


def require_vacant(folder: Path, what: str) -> None:
    """Raise UsageError unless `folder` is absent, or empty but for what killed writers and file managers left there.

    Its path must be UTF-8, too.
    """
    if not is_utf8(folder):
        raise UsageError(
            f"{folder}: the path is not valid UTF-8, and {what} is written by libraries that need that. "
            "Name another path."
        )
    if folder.is_dir():
        names = sorted(entry.name for entry in folder.iterdir())
        first = next((name for name in names if not is_leftover(name) and not is_stray(name)), None)
        if first is not None:
            raise UsageError(
                f"{folder}: {other_work(folder, first)}; {what} is written to an absent or empty folder. "
                "Name another one."
            )
    elif folder.exists() or folder.is_symlink():
        raise UsageError(f"{folder}: is not a folder; {what} needs one. Name another path.")


@contextlib.contextmanager
def staged_folder(out: Path, what: str) -> Iterator[Path]:
    """Yield a temporary folder that becomes `out` when the block succeeds, and is removed when it fails.

    out: in a folder that the caller has locked, which is cleared of the temporary ones of killed runs (`sweep`). For a
    place that a user names see `place.output_folder`.
    """
    require_vacant(out, what)
    out = out.absolute()
    stage = temporary_sibling(out)
    stage.mkdir()
    try:
        yield stage
        flush_files(stage)
        # Replaces an empty folder. Fails if somebody has filled it meanwhile, as it should.
        stage.rename(out)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise
    fsync_folder(out.parent)


def flush_files(folder: Path) -> None:
    """Flush everything in `folder` to the disk."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            fsync_folder(path)
    fsync_folder(folder)


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove what killed writers left in `folder`, all of it or what was to become `name`.

    All of it only for folders in which all files are ours, and which the caller has locked.
    """
    for path in list(folder.iterdir()):
        found = _LEFTOVER.fullmatch(path.name)
        if found is None or name not in (None, found["name"]):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
