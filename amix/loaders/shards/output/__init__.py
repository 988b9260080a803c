"""Where shards are published: a folder of this machine, or a store that takes whole files under their final names."""

from amix.loaders.shards.output.destination import Destination, destination

__all__ = ["Destination", "destination"]
