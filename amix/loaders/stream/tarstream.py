"""The members of a tar that is read from its beginning to its end, as from a pipe.

Python's tarfile takes the end of a tar that was cut, and a damaged header, for the end of the tar.
"""

import re
import zlib
from collections.abc import Iterator
from gzip import BadGzipFile, GzipFile
from typing import IO, Protocol, cast

from amix.engine.base.errors import ShardError
from amix.loaders.shards.layout import BLOCK, in_blocks

_MOST = 1 << 30  # bytes of a member
_END = bytes(BLOCK)
_GZIP = b"\x1f\x8b"
_PATH = re.compile(rb"\d+ path=(.*)\n")


class Readable(Protocol):
    """A stream of bytes: a file, or what WebDataset opens a URL as."""

    def read(self, size: int, /) -> bytes:
        """Return the next `size` bytes, fewer at the end."""


def members(stream: Readable, where: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the files in a tar, plain or gzipped; links and folders are passed over.

    where: its name, for messages.  Raises ShardError when it is damaged, or ends before its end mark.
    """
    first = stream.read(BLOCK)
    begun = _Begun(first, stream)
    file: Readable = GzipFile(fileobj=cast(IO[bytes], begun)) if first.startswith(_GZIP) else begun
    name: str | None = None  # from a header of its own, where it is long
    while (header := _exactly(file, BLOCK, where)) != _END:
        size = _size(header, where)
        data = _exactly(file, in_blocks(size), where)[:size]
        match header[156:157]:
            case b"0" | b"\0":
                yield name or _name(header), data
                name = None
            case b"x":  # extended header of the next member
                found = _PATH.search(data)
                name = found[1].decode() if found else name
            case b"L":  # GNU's long name of the next member
                name = data.rstrip(b"\0").decode()
            case b"g":  # for all members
                pass
            case _:
                name = None


class _Begun:
    """A stream of which the first bytes were read already."""

    def __init__(self, first: bytes, rest: Readable) -> None:
        self._first, self._rest = first, rest

    def read(self, size: int, /) -> bytes:
        if not self._first:
            return self._rest.read(size)
        data, self._first = self._first[:size], self._first[size:]
        return data + self._rest.read(size - len(data)) if len(data) < size else data


def _exactly(file: Readable, size: int, where: str) -> bytes:
    try:
        data = file.read(size)
    except (EOFError, BadGzipFile, zlib.error) as problem:
        raise ShardError(
            f"{where}: the packed data is damaged ({problem}). Fetch or build it again."
        ) from None
    if len(data) != size:
        raise ShardError(f"{where}: ends in the middle. It was cut; fetch or build it again.")
    return data


def _size(header: bytes, where: str) -> int:
    """Return the size of a member. Raises ShardError when its header's checksum is wrong, or the size cannot be."""
    try:
        checked = int(header[148:156].strip(b" \0"), 8)
        size = int(header[124:136].strip(b" \0") or b"0", 8)
    except ValueError:
        checked = size = -1
    if checked != sum(header) - sum(header[148:156]) + 8 * ord(" ") or not 0 <= size <= _MOST:
        raise ShardError(f"{where}: the header of a member is damaged. Fetch or build it again.")
    return size


def _name(header: bytes) -> str:
    name, _, _ = header[:100].partition(b"\0")
    prefix, _, _ = header[345:500].partition(b"\0")
    joined = prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name
    return joined.decode("utf-8", "surrogateescape")
