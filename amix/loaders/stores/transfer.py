"""Files of a store, brought here whole. A transfer that fails is tried again a few times."""

import contextlib
import logging
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from amix.engine.base.errors import DependencyError, FetchError
from amix.engine.base.installing import install
from amix.engine.base.publish import sha256_bytes, sha256_file
from amix.loaders.stores.failures import (
    FINAL,
    LOCAL,
    NO_CREDENTIALS,
    READING,
    Different,
    Doing,
    reason,
)
from amix.loaders.stores.location import joined, shown

ATTEMPTS = 6
# Seconds. Each next pause is twice as long, up to LONGEST_PAUSE, and drawn from [half, whole].
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 16.0
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
                raise Different(f"{part.stat().st_size} bytes arrived, the record says {size}")
            if sha256_file(part) != sha256:
                raise Different("the bytes that arrived are not those of the record")
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
                raise Different("the bytes that arrived are not those of the manifest")
            return data

        return self._patiently(name, get)

    def has(self, name: str) -> bool:
        """Tell whether there is a file of this name now."""

        def look(system: FileSystem, path: str) -> bool:
            system.invalidate_cache()
            try:
                return bool(system.info(path)["type"] == "file")
            except FileNotFoundError:
                return False

        return self._patiently(name, look)

    def read_if_there(self, name: str) -> bytes | None:
        """Return a small file as it is now, None where there is none."""

        def get(system: FileSystem, path: str) -> bytes | None:
            try:
                return bytes(system.cat_file(path))
            except FileNotFoundError:
                return None

        return self._patiently(name, get)

    def beginning(self, name: str, size: int) -> bytes:
        """Return the first bytes of a file, at most `size`."""
        return self._patiently(name, lambda system, path: bytes(system.cat_file(path, start=0, end=size)))

    def part(self, name: str, start: int, end: int) -> bytes:
        """Return the bytes of a file from `start` to before `end`, all of which it has."""

        def get(system: FileSystem, path: str) -> bytes:
            data = bytes(system.cat_file(path, start=start, end=end))
            if len(data) != end - start:
                raise Different(f"{len(data)} bytes arrived of {end - start}")
            return data

        return self._patiently(name, get)

    def matches(self) -> list[str]:
        """Return the URLs of the files that the location matches, which is a pattern, in order."""

        def get(system: FileSystem, path: str) -> list[str]:
            found = system.glob(path.rstrip("/"), detail=True)
            return [
                str(system.unstrip_protocol(name)) for name in sorted(found) if found[name]["type"] == "file"
            ]

        return self._patiently("", get)

    def sizes(self) -> dict[str, int]:
        """Return the bytes of every file in the folder by name, from one listing; -1 where the store does not say.

        Folders in it are among them, with -1. Empty where there is no such folder.
        """

        def get(system: FileSystem, path: str) -> dict[str, int]:
            system.invalidate_cache()
            folder = path.rstrip("/")
            try:
                found = system.ls(folder, detail=True)
            except FileNotFoundError:
                return {}
            sizes = {}
            for entry in found:
                place = str(entry["name"]).rstrip("/")
                if place.strip("/") != folder.strip("/"):  # an object that stands for the folder itself
                    size = entry.get("size") if entry.get("type") == "file" else None
                    sizes[place.rpartition("/")[2]] = -1 if size is None else int(size)
            return sizes

        return self._patiently("", get)

    def _patiently(self, name: str, get: Callable[[FileSystem, str], T], doing: Doing | None = None) -> T:
        doing = doing or READING
        url = joined(self.location, name)
        pause = FIRST_PAUSE
        for attempt in range(1, ATTEMPTS + 1):
            try:
                system = self._system()
                return get(system, system._strip_protocol(url))
            except FINAL as problem:
                raise doing.error(
                    f"{shown(url)}: {reason(problem)}. Check the location and your permission to {doing.verb} it."
                ) from None
            except (ImportError, ValueError) as problem:
                raise self._unusable(problem) from None
            except Exception as problem:  # each store has errors of its own
                if isinstance(problem, OSError) and problem.errno in LOCAL:
                    if doing is READING:
                        raise
                    raise doing.error(
                        f"{shown(url)}: cannot be written ({problem.strerror}). Make room there, or name another place."
                    ) from None
                if type(problem).__name__ in NO_CREDENTIALS:
                    raise doing.error(
                        f"{shown(url)}: no credentials were found. Give them as the store's own tools take them, "
                        "or in storage_options."
                    ) from None
                if attempt == ATTEMPTS:
                    raise doing.error(
                        f"{shown(url)}: could not be {doing.done} in {ATTEMPTS} attempts ({reason(problem)}). Try "
                        f"again later{doing.kept}."
                    ) from None
                _LOG.info(f"{shown(url)}: {reason(problem)}; attempt {attempt + 1} in {pause:.1f} s at most")
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
