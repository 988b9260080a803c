"""A store that takes whole files and renames none: a shard is put together on a disk of this machine, and sent."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from amix.engine.base.errors import ShardError
from amix.engine.base.publish import temporary_sibling
from amix.loaders.shards.output.lease import LEASE, Lease
from amix.loaders.shards.output.scratch import scratch_folder, sweep_scratch
from amix.loaders.stores import WritableStore


class Bucket:
    """A `Destination` at a URL.

    A lease keeps other runs out (`lease.py`). What vouches for other files is created, never overwritten, by whoever
    still has the lease: so two runs that both believe to have it publish the same bytes, or one of them stops.
    """

    def __init__(self, store: WritableStore) -> None:
        self.path = None
        self._store = store
        self._lease = Lease(store)

    def __str__(self) -> str:
        return str(self._store)

    def require_writable(self) -> None:
        """See `Destination`."""
        name = temporary_sibling(Path("place")).name
        self._store.make()
        self._store.write(name, bytes(1))
        self._store.remove([name])

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """See `Destination`."""
        self._store.make()
        with self._lease.held():
            yield

    def sweep(self) -> None:
        """See `Destination`. Also clears this machine of what dead processes were about to send."""
        sweep_scratch()
        if self._lease.is_ours():  # or the uploads are those of the run that has it now
            self._store.abort_uploads()

    def sizes(self) -> dict[str, int]:
        """See `Destination`."""
        return {name: size for name, size in self._store.sizes().items() if name != LEASE}

    def has(self, name: str) -> bool:
        """See `Destination`."""
        return self._store.has(name)

    def named(self, name: str) -> str:
        """See `Destination`."""
        return f"{self._store}/{name}"

    def read(self, name: str) -> bytes:
        """See `Destination`."""
        data = self._store.read_if_there(name)
        if data is None:
            raise ShardError(
                f"{self.named(name)}: there is no such file. Run the same 'amix precompute' again."
            )
        return data

    def beginning(self, name: str, size: int) -> bytes:
        """See `Destination`."""
        return self._store.beginning(name, size)

    @contextlib.contextmanager
    def file(self, name: str) -> Iterator[BinaryIO]:
        """See `Destination`."""
        with scratch_folder() as folder:
            path = folder / name
            with path.open("wb") as file:
                yield file
            self._lease.require()
            self._store.send(path)

    def write(self, name: str, data: bytes) -> None:
        """See `Destination`."""
        self._store.write(name, data)

    def flush(self) -> None:
        """See `Destination`. What a store has taken is durable."""

    def commit(self, name: str, data: bytes) -> None:
        """See `Destination`."""
        self._lease.require()
        if not self._store.create(name, data):
            raise ShardError(
                f"{self.named(name)}: another run has published it, with other content. This one ended; what it "
                "published before is kept. Let only one run at a time write there."
            )

    def remove(self, names: Iterable[str]) -> None:
        """See `Destination`."""
        self._store.remove(names)
