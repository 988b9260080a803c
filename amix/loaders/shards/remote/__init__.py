"""Caches that are elsewhere: their shards are fetched ahead of use, checked, and kept in a local store."""

from amix.loaders.shards.remote.ahead import Ahead
from amix.loaders.shards.remote.mirror import Mirror, remote_manifest
from amix.loaders.shards.remote.shardcache import CacheOptions
from amix.loaders.stores import Store, WritableStore, is_remote, shown, transfer

__all__ = [
    "Ahead",
    "CacheOptions",
    "Mirror",
    "Store",
    "WritableStore",
    "is_remote",
    "remote_manifest",
    "shown",
    "transfer",
]
