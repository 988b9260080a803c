"""Files of a store, brought here whole. A transfer that fails is tried again a few times."""

import contextlib
import errno
import logging
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from amix.engine.base.errors import AmixError, DependencyError, FetchError, StorageError
from amix.engine.base.installing import install
from amix.engine.base.publish import sha256_bytes, sha256_file
from amix.loaders.shards.remote.location import joined, shown

ATTEMPTS = 6
FIRST_PAUSE = (
    0.5  # seconds; each next one is twice as long, up to LONGEST_PAUSE, and drawn from [half, whole]
)
LONGEST_PAUSE = 16.0
_FINAL = (
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    NotImplementedError,
)
_WITH_FOLDERS = {"file", "local", "ftp", "sftp", "ssh", "smb", "hdfs", "webhdfs"}  # not buckets
# Errors of botocore and google.auth, by name, because these packages may not be installed.
_NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"}
_LOCAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # a disk of this machine; trying again does not help
_LOG = logging.getLogger(__name__)

T = TypeVar("T")
FileSystem = Any  # Any: fsspec has no types
Options = dict[str, Any]  # Any: fsspec's own options


class Store:
    """The files of one remote folder.

    location: its URL.  options: for fsspec's file system, credentials among them; never shown.
    It connects at the first use in each process, because a connection survives neither a fork nor pickling.
    """

    def __init__(self, location: str, options: Options | None = None) -> None:
        self.location = location.rstrip("/")
        self._options = options or {}
        self._opened: tuple[int, FileSystem] | None = None  # process id, file system

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_opened": None}

    def __str__(self) -> str:
        return shown(self.location)

    def __repr__(self) -> str:
        return f"Store({shown(self.location)!r})"

    def read(self, name: str) -> bytes:
        """Return a small file. Raises FetchError naming it when it is not there or cannot be fetched."""
        return self._patiently(name, lambda system, path: bytes(system.cat_file(path)))

    def fetch(self, name: str, to: Path, size: int, sha256: str) -> None:
        """Bring a file to `to`, whole and of this size and hash. A partial file never gets that name.

        Raises FetchError when the file cannot be fetched, or other bytes arrive every time.
        """
        part = to.with_name(f".{to.name}.part")

        def get(system: FileSystem, path: str) -> None:
            system.get_file(path, str(part))
            if part.stat().st_size != size:
                raise _Different(f"{part.stat().st_size} bytes arrived, the record says {size}")
            if sha256_file(part) != sha256:
                raise _Different("the bytes that arrived are not those of the record")
            with part.open("rb") as file:
                os.fsync(file.fileno())

        try:
            self._patiently(name, get)
            part.replace(to)
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)

    def copy(self, name: str, to: Path) -> None:
        """Bring a file to `to` as it is in the store, without checking what it holds."""
        self._patiently(name, lambda system, path: system.get_file(path, str(to)))

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes; None where the store does not say."""
        size: int | None = self._patiently(name, lambda system, path: system.info(path)["size"])
        return size

    def document(self, name: str, sha256: str) -> bytes:
        """Return a small file of this hash."""

        def get(system: FileSystem, path: str) -> bytes:
            data = bytes(system.cat_file(path))
            if sha256_bytes(data) != sha256:
                raise _Different("the bytes that arrived are not those of the manifest")
            return data

        return self._patiently(name, get)

    def make(self) -> None:
        """Make the folder, and those above it, where the store has folders; others have names alone."""
        if self.location.partition("://")[0].lower() in _WITH_FOLDERS:
            self._patiently(
                "", lambda system, path: system.makedirs(path.rstrip("/"), exist_ok=True), _WRITING
            )

    def write(self, name: str, data: bytes) -> None:
        """Write a small file. Raises StorageError naming it when the store does not take it."""
        self._patiently(name, lambda system, path: system.pipe_file(path, data), _WRITING)

    def send(self, file: Path) -> None:
        """Write a file of this machine under its own name. Raises StorageError as `write` does."""

        def put(system: FileSystem, path: str) -> None:
            system.put_file(str(file), path)
            if system.info(path)["size"] != file.stat().st_size:
                raise _Different("the store holds another size than was sent")

        self._patiently(file.name, put, _WRITING)

    def _patiently(self, name: str, get: Callable[[FileSystem, str], T], doing: "_Doing | None" = None) -> T:
        doing = doing or _READING
        url = joined(self.location, name)
        pause = FIRST_PAUSE
        for attempt in range(1, ATTEMPTS + 1):
            try:
                system = self._system()
                return get(system, system._strip_protocol(url))
            except _FINAL as problem:
                raise doing.error(
                    f"{shown(url)}: {_reason(problem)}. Check the location and your permission to {doing.verb} it."
                ) from None
            except (ImportError, ValueError) as problem:
                raise self._unusable(problem) from None
            except Exception as problem:  # each store has errors of its own
                if isinstance(problem, OSError) and problem.errno in _LOCAL:
                    if doing is _READING:
                        raise
                    raise doing.error(
                        f"{shown(url)}: cannot be written ({problem.strerror}). Make room there, or name another place."
                    ) from None
                if type(problem).__name__ in _NO_CREDENTIALS:
                    raise doing.error(
                        f"{shown(url)}: no credentials were found. Give them as the store's own tools take them, "
                        "or in storage_options."
                    ) from None
                if attempt == ATTEMPTS:
                    raise doing.error(
                        f"{shown(url)}: could not be {doing.done} in {ATTEMPTS} attempts ({_reason(problem)}). Try "
                        f"again later{doing.kept}."
                    ) from None
                _LOG.info(f"{shown(url)}: {_reason(problem)}; attempt {attempt + 1} in {pause:.1f} s at most")
                time.sleep(pause * random.uniform(0.5, 1))  # so that many readers do not come back together
                pause = min(2 * pause, LONGEST_PAUSE)
        raise AssertionError

    def _system(self) -> FileSystem:
        if self._opened is None or self._opened[0] != os.getpid():
            import fsspec

            system, _ = fsspec.core.url_to_fs(self.location, skip_instance_cache=True, **self._options)
            self._opened = (os.getpid(), system)
        return self._opened[1]

    def _unusable(self, problem: Exception) -> Exception:
        scheme = self.location.partition("://")[0]
        if isinstance(problem, ImportError):
            packages = {"s3": install("s3"), "gs": "pip install gcsfs", "gcs": "pip install gcsfs"}
            how = packages.get(scheme, "pip install the package that fsspec names for it")
            return DependencyError(f"{self}: {scheme}:// needs another package. Install it: {how}")
        return FetchError(f"{self}: is not a location that fsspec knows ({type(problem).__name__}).")


@dataclass(frozen=True)
class _Doing:
    """What is done with a file, in the words of its errors."""

    error: type[AmixError]
    verb: str
    done: str
    kept: str


_READING = _Doing(FetchError, "read", "fetched", "; files that were fetched before are kept")
_WRITING = _Doing(StorageError, "write to", "sent", "")


class _Different(Exception):
    """Other bytes arrived than were asked for. Its messages are ours, and hold no secrets."""


def _reason(problem: Exception) -> str:
    """Return what an error may tell the user; a store's own message may hold a signed URL or a key."""
    if isinstance(problem, _Different):
        return str(problem)
    if isinstance(problem, FileNotFoundError):
        return "there is no such file or folder"
    if isinstance(problem, NotADirectoryError | FileExistsError):
        return "a file is in the place of a folder"
    if isinstance(problem, PermissionError):
        return "permission denied"
    status = getattr(problem, "status", None) or getattr(
        getattr(problem, "response", None), "status_code", None
    )
    return f"{type(problem).__name__}, status {status}" if status else type(problem).__name__
