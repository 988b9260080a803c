"""Shard folders that are elsewhere: fetched whole and ahead of use, checked, and kept in a cache of limited size."""

from amix.loaders.remote.ahead import Ahead
from amix.loaders.remote.location import is_remote, shown
from amix.loaders.remote.mirror import Mirror
from amix.loaders.remote.shardcache import CacheOptions
from amix.loaders.remote.transfer import Store

__all__ = ["Ahead", "CacheOptions", "Mirror", "Store", "is_remote", "shown"]
