"""What a place must offer that shards are published to, and which kind of place a location is."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

from amix.engine.base.errors import UsageError
from amix.loaders.stores import WritableStore, is_remote, shown


@runtime_checkable
class Destination(Protocol):
    """A place that shards are published to, file by file; as a text, what messages call it.

    It pickles, so that every worker publishes for itself. Nothing has to be renamed there by anybody else: a file is
    under its final name when it is whole, and `commit` is how a file is published that vouches for others.
    path: where it is on this machine; None where it is elsewhere.
    """

    @property
    def path(self) -> Path | None:
        """See above."""
        ...

    def require_writable(self) -> None:
        """Raise UsageError or StorageError unless files can be written, and leave nothing behind."""
        ...

    def held(self) -> AbstractContextManager[None]:
        """Keep other runs out during the block. Raises ShardError where one is at work there."""
        ...

    def sweep(self) -> None:
        """Remove what killed runs left unpublished. Only while it is held."""
        ...

    def sizes(self) -> dict[str, int]:
        """Return the bytes of every file by name, from one listing; -1 for whatever is no plain file."""
        ...

    def has(self, name: str) -> bool:
        """Tell whether there is a file of this name."""
        ...

    def named(self, name: str) -> str:
        """Return what messages call a file there."""
        ...

    def read(self, name: str) -> bytes:
        """Return a document. Raises ShardError where there is none, FetchError where it cannot be fetched."""
        ...

    def beginning(self, name: str, size: int) -> bytes:
        """Return the first bytes of a file, at most `size`."""
        ...

    def file(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Yield a file of this machine, which is published as `name` when the block succeeds."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Publish a small file."""
        ...

    def flush(self) -> None:
        """Make durable what was published."""
        ...

    def commit(self, name: str, data: bytes) -> None:
        """Publish, durably, a small file that vouches for others, which were flushed.

        Raises ShardError where another run has taken the place over.
        """
        ...

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, durably; one that is not there is none to remove."""
        ...


def destination(
    out: str | Path | Destination,
    storage_options: dict[str, Any] | None = None,  # Any: fsspec's own options
) -> Destination:
    """Return the place that `out` names: a folder, or a URL that fsspec can write to (`s3://bucket/cache`).

    Raises UsageError for a URL that takes no single files.
    """
    if not isinstance(out, str | Path):
        return out
    if not is_remote(out):
        from amix.loaders.shards.output.folder import Folder

        return Folder(Path(out))
    url = str(out)
    if url.startswith("hf://") and not url.startswith("hf://buckets/"):
        raise UsageError(
            f"{shown(url)}: a repository on the Hub takes commits, a few a minute, and no single files. Write to a "
            "folder and send it with 'amix push', or name a bucket (hf://buckets/name/bucket/cache)."
        )
    from amix.loaders.shards.output.bucket import Bucket

    return Bucket(WritableStore(url, storage_options))


def require_shared(place: Destination) -> None:
    """Raise UsageError for a place that only this process can see: workers could not publish there."""
    if str(place).startswith("memory://"):
        raise UsageError(
            f"{place}: is in the memory of one process, and workers are others. Name another place."
        )
