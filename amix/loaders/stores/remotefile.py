"""A file of a store, read in parts where it is: what a `Path` offers to whoever only opens it for reading."""

import io
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast
from urllib.parse import urlsplit, urlunsplit

from amix.engine.base.errors import FetchError
from amix.loaders.stores.location import shown
from amix.loaders.stores.transfer import Store

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BUFFER = 4 << 20  # bytes


class Status(NamedTuple):
    """What `stat` says. st_size: bytes."""

    st_size: int


class RemoteFile:
    """A file at a URL; as a text, what messages call it. It pickles. Raises FetchError where it cannot be fetched."""

    def __init__(self, url: str, storage_options: dict[str, Any] | None = None) -> None:  # Any: fsspec's own
        parts = urlsplit(url)
        folder, _, self.name = parts.path.rpartition("/")
        if not folder:  # s3://file: the bucket is where a name should be
            folder = "/"
        self._store = Store(urlunsplit(parts._replace(path=folder)), storage_options)
        self._shown = shown(url)

    def __str__(self) -> str:
        return self._shown

    @property
    def parent(self) -> PurePosixPath:
        """The folder that it is in, for comparing."""
        return PurePosixPath(self._shown).parent

    def absolute(self) -> "RemoteFile":
        """Return itself: a URL is the same everywhere."""
        return self

    def stat(self) -> Status:
        """Return its size, as it is now."""
        size = self._store.size(self.name)
        if size is None:
            raise FetchError(
                f"{self}: the store does not say how large it is. Copy the file here, and name that."
            )
        return Status(size)

    def open(self, mode: str = "rb", buffering: int = _BUFFER) -> BinaryIO:
        """Open it for reading bytes. buffering: how many are fetched where fewer are asked for; 0 = just these."""
        assert mode == "rb", mode
        parts = _Parts(self._store, self.name, self.stat().st_size)
        return cast(BinaryIO, io.BufferedReader(parts, buffering) if buffering else parts)


class _Parts(io.RawIOBase):
    """The bytes of a file, fetched when they are read."""

    def __init__(self, store: Store, name: str, size: int) -> None:
        self._store, self._name, self._size = store, name, size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        target = memoryview(buffer).cast("B")
        end = min(self._position + len(target), self._size)
        if end <= self._position:
            return 0
        data = self._store.part(self._name, self._position, end)
        target[: len(data)] = data
        self._position = end
        return len(data)
