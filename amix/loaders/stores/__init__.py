"""Files elsewhere, through fsspec: fetched and sent whole, or read in parts, as often as it takes."""

from amix.loaders.stores.location import is_remote, shown
from amix.loaders.stores.remotefile import RemoteFile
from amix.loaders.stores.transfer import Store
from amix.loaders.stores.writable import WritableStore

__all__ = ["RemoteFile", "Store", "WritableStore", "is_remote", "shown"]
