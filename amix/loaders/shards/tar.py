"""The members of one sample in its tar, each with exactly the header that amix writes."""

import mmap
from collections.abc import Iterator

from amix.engine.base.errors import ShardError
from amix.loaders.shards.layout import BLOCK, Layout, padded
from amix.loaders.shards.writer import tar_header


def members_of(
    data: mmap.mmap, position: int, key: str, layout: Layout, where: str
) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the members of the sample `key` that begins at `position` of a tar.

    Raises ShardError naming `where` and the member for any other header.
    """
    for name in layout.members:
        try:
            size = int(data[position + 124 : position + 135], 8)
        except ValueError:
            raise ShardError(f"{where}: the tar header of {name} is damaged.") from None
        # A header is a function of name and size, so links, odd names and claims beyond the file all fail here.
        begin = position + BLOCK
        if (
            size < 0
            or data[position:begin] != tar_header(f"{key}.{name}", size)
            or begin + padded(size) > len(data)
        ):
            raise ShardError(f"{where}: the tar header of {name} is damaged.")
        yield name, data[begin : begin + size]
        position = begin + padded(size)
