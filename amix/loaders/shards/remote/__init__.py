"""Caches that are elsewhere: their shards are fetched ahead of use, checked, and kept in a local store."""

from amix.loaders.shards.remote.ahead import Ahead
from amix.loaders.shards.remote.mirror import Mirror, remote_manifest
from amix.loaders.shards.remote.shardcache import CacheOptions

__all__ = ["Ahead", "CacheOptions", "Mirror", "remote_manifest"]
