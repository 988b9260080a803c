"""A folder of this machine: files get their final name by an atomic rename, and a lock keeps other runs out."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from amix.engine.base.errors import ShardError
from amix.engine.base.place import make_folder, require_writable
from amix.engine.base.processes import lock_folder
from amix.engine.base.publish import atomic_writer, explained, fsync_folder, sweep
from amix.loaders.shards.records import read_bytes


class Folder:
    """A `Destination` at a path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._path = path.absolute()

    def __reduce__(self) -> tuple[type["Folder"], tuple[Path]]:
        # Sent to a process that may be in another folder, the path has to be absolute.
        return Folder, (self._path,)

    def __str__(self) -> str:
        return str(self.path)

    def require_writable(self) -> None:
        """See `Destination`."""
        require_writable(self.path)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """See `Destination`. The folder is made where it is absent."""
        make_folder(self.path)
        descriptor = lock_folder(self.path, "writing shards", ShardError)
        try:
            yield
        finally:
            os.close(descriptor)

    def sweep(self) -> None:
        """See `Destination`."""
        with explained(self.path):
            sweep(self._path)

    def sizes(self) -> dict[str, int]:
        """See `Destination`. A link is no plain file."""
        sizes = {}
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(self._path) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # it has just gone
                    is_file = entry.is_file(follow_symlinks=False)
                    sizes[entry.name] = entry.stat().st_size if is_file else -1
        return sizes

    def has(self, name: str) -> bool:
        """See `Destination`."""
        return (self._path / name).is_file()

    def named(self, name: str) -> str:
        """See `Destination`."""
        return str(self.path / name)

    def read(self, name: str) -> bytes:
        """See `Destination`."""
        return read_bytes(self.path / name)

    def beginning(self, name: str, size: int) -> bytes:
        """See `Destination`."""
        with (self._path / name).open("rb") as file:
            return file.read(size)

    def file(self, name: str) -> AbstractContextManager[BinaryIO]:
        """See `Destination`."""
        return atomic_writer(self._path / name)

    def write(self, name: str, data: bytes) -> None:
        """See `Destination`."""
        with atomic_writer(self._path / name) as file:
            file.write(data)

    def flush(self) -> None:
        """See `Destination`."""
        fsync_folder(self._path)

    def commit(self, name: str, data: bytes) -> None:
        """See `Destination`. No other run can take it over: the lock ends with its holder."""
        self.write(name, data)
        self.flush()

    def remove(self, names: Iterable[str]) -> None:
        """See `Destination`."""
        with explained(self.path):
            for name in names:
                (self._path / name).unlink(missing_ok=True)
            fsync_folder(self._path)
