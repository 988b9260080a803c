"""The `.npy` members of a shard: headers of our own, all of one size, and a reader that executes nothing.

With a fixed header the bytes are reproducible, and the index finds a payload without parsing.
"""

import ast
import functools
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amix.engine.base.errors import ShardError

HEADER_BYTES = 128
_MAGIC = b"\x93NUMPY\x01\x00"
_DTYPES = {name: np.dtype(name) for name in ("|u1", "<u2", "<u4", "<f2", "<f4")}
# Only the three keys in NumPy's order match, so that no expression reaches Python's parser.
_HEADER = re.compile(
    rb"\{'descr': '(?P<descr>[|<][uf][124])', 'fortran_order': False, "
    rb"'shape': (?P<shape>\((?:\d{1,18},|\d{1,18}, \d{1,18})\)), \} *\n"
)


@functools.lru_cache(1 << 14)  # texts have few lengths
def npy_header(
    dtype: np.dtype[Any],  # Any: of every kind
    shape: tuple[int, ...],
    size: int = HEADER_BYTES,
) -> bytes:
    """Return the version 1.0 header, of `size` bytes, of a C-ordered array; a record dtype needs 192."""
    kind = dtype.descr if dtype.names else dtype.str
    text = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    room = size - len(_MAGIC) - 2
    assert len(text) < room, text
    return _MAGIC + room.to_bytes(2, "little") + text.ljust(room - 1) + b"\n"


def parse_npy(data: bytes, where: str) -> NDArray[Any]:  # Any: of the dtype in its header
    """Return the array in a `.npy` member that amix wrote, read-only.

    Raises ShardError naming `where` for another header, and for a payload of another size.
    """
    head = data[:HEADER_BYTES]
    match = _HEADER.fullmatch(head[10:])
    if len(head) < HEADER_BYTES or head[:8] != _MAGIC or head[8:10] != b"\x76\x00" or match is None:
        raise ShardError(
            f"{where}: not an array as amix writes it. The shard is damaged, or was not written by amix."
        )
    dtype = _DTYPES.get(match["descr"].decode())
    if dtype is None:
        raise ShardError(f"{where}: an array of {match['descr'].decode()}, which amix does not write.")
    shape: tuple[int, ...] = ast.literal_eval(match["shape"].decode())
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if size != len(data) - HEADER_BYTES:
        raise ShardError(
            f"{where}: claims {size} bytes and holds {len(data) - HEADER_BYTES}. The shard is damaged."
        )
    return np.frombuffer(data, dtype, offset=HEADER_BYTES).reshape(shape)
