"""The members of a tar: the one header that amix gives each, and the members of a sample read back."""

import functools
from collections.abc import Iterator

from amix.engine.base.errors import ShardError
from amix.loaders.shards.layout import BLOCK, Layout, in_blocks
from amix.loaders.shards.openfiles import OpenFile

_ZEROS = bytes(BLOCK)
_KEY = 12  # characters of a key


def tar_header(name: str, size: int) -> bytes:
    """Return a POSIX ustar header with mode 644, owner 0 and time 0, so that equal samples give equal bytes."""
    key = name[:_KEY].encode("ascii")
    rest, total = _keyless_header(len(key), name[_KEY:], size)
    return b"%b%b%06o\0 %b" % (key, rest[: 148 - len(key)], total + sum(key), rest[156 - len(key) :])


@functools.lru_cache(1 << 14)  # apart from their keys, members have few names and sizes
def _keyless_header(length: int, rest: str, size: int) -> tuple[bytes, int]:
    """Return a header without the `length` bytes of its key, and the sum of its bytes."""
    head = bytearray(BLOCK)
    head[length : length + len(rest)] = rest.encode("ascii")
    head[100:108] = b"0000644\0"
    head[108:124] = b"0000000\0" * 2
    head[124:136] = b"%011o\0" % size
    head[136:148] = b"00000000000\0"
    head[148:156] = b" " * 8  # the checksum counts its own place as spaces
    head[156:157] = b"0"
    head[257:265] = b"ustar\x0000"
    return bytes(head[length:]), sum(head)


def member(name: str, *parts: bytes) -> list[bytes]:
    """Return a member of a tar in pieces: header, content, padding."""
    size = sum(len(part) for part in parts)
    return [tar_header(name, size), *parts, _ZEROS[: in_blocks(size) - size]]


def members_of(
    tar: OpenFile, position: int, key: str, layout: Layout, where: str
) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the members of the sample `key` that begins at `position` of a tar.

    Raises ShardError naming `where` and the member when its header is not the one that amix writes.
    """
    for name in layout.members:
        begin = position + BLOCK
        header = tar.read(position, BLOCK) if begin <= tar.size else b""
        try:
            size = int(header[124:135], 8)
        except ValueError:
            raise ShardError(f"{where}: the tar header of {name} is damaged.") from None
        # A header is a function of name and size, so links, odd names and claims beyond the file all fail here.
        if size < 0 or header != tar_header(f"{key}.{name}", size) or begin + in_blocks(size) > tar.size:
            raise ShardError(f"{where}: the tar header of {name} is damaged.")
        yield name, tar.read(begin, size)
        position = begin + in_blocks(size)
