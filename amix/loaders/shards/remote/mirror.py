"""A remote cache as a local one: documents and indexes at once, tars and checksums when they are needed."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from amix.engine.base.publish import write_atomic
from amix.loaders.shards.entries import ShardEntry
from amix.loaders.shards.manifest import MANIFEST, Manifest
from amix.loaders.shards.records import FileEntry
from amix.loaders.shards.remote.shardcache import CacheOptions, ShardCache
from amix.loaders.shards.tokenizer import TOKENIZER
from amix.loaders.stores.transfer import Store

_AT_ONCE = 16  # small files


def remote_manifest(location: str) -> Manifest:
    """Return the manifest of the cache at a URL, and leave its shards there. Raises FetchError or ShardError."""
    return _manifest(Store(location))[0]


class Mirror:
    """The local copy of a remote cache, named by the manifest's hash: the same cache under two URLs is kept once.

    When the other documents are here already, opening fetches only the manifest. Every file is compared with the hash
    that the manifest gives for it before it gets its name here.
    Raises ShardError for a damaged manifest or record, FetchError for a file that cannot be fetched.
    """

    def __init__(
        self,
        location: str,
        cache: CacheOptions | None = None,
        storage_options: dict[str, Any] | None = None,  # Any: fsspec's own options
    ) -> None:
        self.store = Store(location, storage_options)
        there, data = _manifest(self.store)
        self._cache = ShardCache(cache or CacheOptions(), there.sha256[:32])
        self._cache.make()
        self.folder: Path = self._cache.folder
        if not (self.folder / MANIFEST).is_file():
            self._fetch_documents(there)
            write_atomic(self.folder / MANIFEST, data)  # the last: with it the documents are complete
        self.manifest = Manifest.read(self.folder)

    @property
    def limit(self) -> int:
        """Bytes of shards that the local store may hold, those of other caches included."""
        return self._cache.limit

    def provide(self, file: FileEntry) -> None:
        """Fetch a file of a shard, unless its local copy is there already."""
        fetch = partial(self.store.fetch, file.name, size=file.bytes, sha256=file.sha256)
        self._cache.provide(file.name, file.bytes, fetch)

    def _fetch_documents(self, there: Manifest) -> None:
        def shard(entry: ShardEntry) -> None:
            name = f"{entry.name}.json"
            data = self.store.document(name, entry.record_sha256)
            index = entry.record(data, f"{self.store}/{name}").index
            write_atomic(self.folder / index.name, self.store.document(index.name, index.sha256))
            write_atomic(self.folder / name, data)

        write_atomic(self.folder / TOKENIZER, self.store.document(TOKENIZER, there.tokenizer.sha256))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for _ in pool.map(shard, there.shards):
                pass


def _manifest(store: Store) -> tuple[Manifest, bytes]:
    data = store.read(MANIFEST)
    return Manifest.parse(data, f"{store}/{MANIFEST}", Path()), data
