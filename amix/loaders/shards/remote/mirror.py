"""A remote shard folder as a local one: documents and indexes at once, tars and checksums when they are needed."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from amix.engine.base import canonical
from amix.engine.base.errors import ShardError
from amix.engine.base.publish import write_atomic
from amix.loaders.shards.manifest import MANIFEST, Manifest
from amix.loaders.shards.remote.shardcache import CacheOptions, ShardCache
from amix.loaders.shards.remote.transfer import Store
from amix.loaders.shards.schema import check_manifest, check_record

_AT_ONCE = 16  # small files


class Mirror:
    """The local copy of a remote folder, keyed by the manifest's hash: the same cache under two URLs is kept once.

    Opening asks the store for the manifest alone where the rest is here already. Everything is compared with the
    hashes that the manifest vouches for before it gets its name here.
    Raises ShardError for a manifest or record that is damaged, FetchError for what cannot be had.
    """

    def __init__(
        self, location: str, cache: CacheOptions | None = None, storage_options: dict[str, Any] | None = None
    ) -> None:
        self.store = Store(location, storage_options)
        data = self.store.read(MANIFEST)
        where = f"{self.store}/{MANIFEST}"
        fields = canonical.unseal(data, where, error=ShardError)
        check_manifest(fields, where)
        self._cache = ShardCache(cache or CacheOptions(), str(fields["sha256"])[:32])
        self._cache.make()
        self.folder: Path = self._cache.folder
        if not (self.folder / MANIFEST).is_file():
            self._fetch_documents(fields)
            write_atomic(self.folder / MANIFEST, data)  # the last: with it the documents are complete
        self.manifest = Manifest.read(self.folder)

    @property
    def limit(self) -> int:
        """Bytes that the local copies of shards may take, those of other caches among them."""
        return self._cache.limit

    def provide(self, files: Mapping[str, Any]) -> None:
        """Have the tar and the checksums of a shard here, whole. files: of its record."""
        for kind in ("tar", "crc"):
            name, size, sha256 = (files[kind][field] for field in ("name", "bytes", "sha256"))
            fetch = partial(self.store.fetch, name, size=size, sha256=sha256)
            self._cache.provide(name, size, fetch)

    def _fetch_documents(self, fields: Mapping[str, Any]) -> None:
        def shard(entry: Mapping[str, Any]) -> None:
            name = f"{entry['name']}.json"
            data = self.store.document(name, entry["record_sha256"])
            record = canonical.unseal(data, f"{self.store}/{name}", error=ShardError)
            check_record(record, entry, f"{self.store}/{name}")
            index = record["files"]["index"]
            write_atomic(self.folder / index["name"], self.store.document(index["name"], index["sha256"]))
            write_atomic(self.folder / name, data)

        tokenizer = self.store.document("tokenizer.json", fields["tokenizer"]["sha256"])
        write_atomic(self.folder / "tokenizer.json", tokenizer)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for _ in pool.map(shard, fields["shards"]):
                pass
