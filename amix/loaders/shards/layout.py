"""What the files of a shard are called, and where in its tar the bytes of a sample are.

A sample is a run of members, in this order: input_ids, relevance, scale, token_type_ids, labels (arrays whose
size follows from the number of tokens), then cls and txt. So the index needs one offset per sample.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from amix.loaders.shards.choices import RelevanceDtype
from amix.loaders.shards.npy import HEADER_BYTES, npy_header

FILE_ENDINGS = {"tar": "tar", "index": "index.npy", "crc": "crc.npy"}  # files whose hashes are in the record
BLOCK = 512  # of a tar
INDEX_DTYPE = np.dtype([("row", "<i8"), ("offset", "<i8"), ("tokens", "<i4"), ("label", "<i4")])
INDEX_HEADER_BYTES = 192
CRC_DTYPE = np.dtype("<u4")
RELEVANCE_DTYPES: dict[RelevanceDtype, np.dtype[Any]] = {  # Any: a table of several types
    "float16": np.dtype("<f2"),
    "float32": np.dtype("<f4"),
    "uint8": np.dtype("|u1"),
}


def shard_name(unit: int) -> str:
    """Return the name of a unit's files without their endings."""
    return f"shard-{unit:08d}"


def sample_key(row: int) -> str:
    """Return the key of a sample: its row number, 12 digits."""
    return f"{row:012d}"


def in_blocks(size: int) -> int:
    """Return the size that a member's data takes in a tar: whole blocks."""
    return -size % BLOCK + size


def index_header(samples: int) -> bytes:
    """Return the header of `.index.npy`, which (samples,) of `INDEX_DTYPE` follow."""
    return npy_header(INDEX_DTYPE, (samples,), INDEX_HEADER_BYTES)


def crc_header(columns: int, samples: int) -> bytes:
    """Return the header of `.crc.npy`, which (columns, samples) of `CRC_DTYPE` follow.

    A column is what one head's reader needs, so that its checksums lie together.
    """
    return npy_header(CRC_DTYPE, (columns, samples))


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What every sample of a cache consists of.

    heads: number of relevance rows.  dtype: of relevance.  wide_ids: ids are uint32 instead of uint16.
    classes: width of `labels.npy`, 0 where the cache holds class ids or no labels.  cls: samples have class ids.
    text: samples keep their text.
    """

    heads: int
    dtype: RelevanceDtype
    wide_ids: bool
    token_types: bool
    classes: int
    cls: bool
    text: bool

    @property
    def ids_dtype(self) -> np.dtype[np.uint32] | np.dtype[np.uint16]:
        """The type of `input_ids.npy`."""
        return np.dtype("<u4") if self.wide_ids else np.dtype("<u2")

    @property
    def relevance_dtype(self) -> np.dtype[Any]:  # Any: one of several types
        """The type of `relevance.npy`."""
        return RELEVANCE_DTYPES[self.dtype]

    @cached_property
    def arrays(self) -> tuple[str, ...]:
        """Names of the array members, in the order of the tar."""
        names = ["input_ids", "relevance"]
        names += ["scale"] * (self.dtype == "uint8")
        names += ["token_type_ids"] * self.token_types
        names += ["labels"] * (self.classes > 0)
        return tuple(names)

    @cached_property
    def members(self) -> tuple[str, ...]:
        """Names of all members after the key and a dot, in the order of the tar."""
        return (*(f"{name}.npy" for name in self.arrays), *(["cls"] * self.cls), *(["txt"] * self.text))

    def array(self, name: str, tokens: int) -> tuple[np.dtype[Any], tuple[int, ...]]:  # Any: as above
        """Return dtype and shape of an array member of a sample of `tokens` tokens."""
        match name:
            case "input_ids":
                return self.ids_dtype, (tokens,)
            case "relevance":
                return self.relevance_dtype, (self.heads, tokens)
            case "scale":
                return np.dtype("<f4"), (self.heads,)
            case "token_type_ids":
                return np.dtype("|u1"), (tokens,)
            case "labels":
                return np.dtype("<f4"), (self.classes,)
        raise AssertionError(name)

    def crc_column(self, name: str) -> int:
        """Return the column of an array's checksums; for relevance, the column of its first head."""
        return self.crc_names.index(name)

    @cached_property
    def crc_names(self) -> tuple[str, ...]:
        """The array that each column of `.crc.npy` covers."""
        ids, relevance, *others = self.arrays
        return (ids, *[relevance] * self.heads, *others)

    def array_bytes(self, tokens: int) -> int:
        """Return how many bytes of the tar a sample's array members take, with headers and padding."""
        end = 0
        for begin, size in self.payloads(tokens).values():
            end = begin - HEADER_BYTES + in_blocks(HEADER_BYTES + size)
        return end

    def payloads(self, tokens: int) -> Mapping[str, tuple[int, int]]:
        """Return where each array member's payload begins, from the sample's offset on, and its size in bytes."""
        places = self._payloads.get(tokens)
        if places is None:
            places = self._payloads[tokens] = self._measured(tokens)
        return places

    @cached_property
    def _payloads(self) -> dict[int, Mapping[str, tuple[int, int]]]:
        """Places by length: a corpus has few lengths, and a reader asks with every sample."""
        return {}

    def _measured(self, tokens: int) -> dict[str, tuple[int, int]]:
        places: dict[str, tuple[int, int]] = {}
        position = 0
        for name in self.arrays:
            dtype, shape = self.array(name, tokens)
            size = math.prod(shape) * dtype.itemsize
            places[name] = (position + BLOCK + HEADER_BYTES, size)
            position += BLOCK + in_blocks(HEADER_BYTES + size)
        return places


class Piece(NamedTuple):
    """Bytes of a sample that have a checksum of their own: an array, or one head's row of relevance.

    begin, size: where in the sample.  column: of its checksums.
    """

    begin: int
    size: int
    column: int


class Wanted(dict[int, tuple[Piece, ...]]):
    """What is read of a sample, by its number of tokens.

    These are the ids, the rows of `heads` in that order, and the arrays named in `others`.
    heads: positions among those stored; without any, `scale` is not read either.
    """

    def __init__(self, layout: Layout, heads: Sequence[int] = ()) -> None:
        super().__init__()
        self._layout = layout
        self.heads = tuple(heads)
        self.others = tuple(name for name in layout.arrays[2:] if heads or name != "scale")

    def __missing__(self, tokens: int) -> tuple[Piece, ...]:
        layout, places = self._layout, self._layout.payloads(tokens)
        begin, size = places["relevance"]
        row = size // max(1, layout.heads)
        pieces = (
            Piece(*places["input_ids"], 0),
            *(Piece(begin + head * row, row, 1 + head) for head in self.heads),
            *(Piece(*places[name], layout.crc_column(name)) for name in self.others),
        )
        self[tokens] = pieces
        return pieces
