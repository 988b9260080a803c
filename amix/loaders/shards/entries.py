"""What a manifest says about its shards: an entry for each, with the hash of its record's file.

A million entries are columns of numbers, 76 MB; an entry is made when it is asked for.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, overload

import numpy as np
from numpy.typing import NDArray

from amix.engine.base.errors import ShardError
from amix.engine.base.publish import sha256_bytes
from amix.loaders.shards.fields import Fields
from amix.loaders.shards.layout import shard_name
from amix.loaders.shards.records import ShardRecord

_SHARD_NAME = re.compile(r"shard-\d{8}", re.ASCII)
_CHUNK = 1 << 19  # bytes of JSON that are parsed at once
_DIGITS = 18  # of a number that is surely below the largest that `Fields` takes
_NIBBLES = np.full(256, 255, np.uint8)
_NIBBLES[list(b"0123456789abcdef")] = range(16)


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """What the manifest says about one shard.

    row_range: corpus rows [first, end).  tar_bytes: size of its tar.  record_sha256: of its record's file.
    """

    name: str
    row_range: tuple[int, int]
    samples: int
    tokens: int
    tar_bytes: int
    record_sha256: str

    @property
    def row_count(self) -> int:
        """Corpus rows, rejected ones too."""
        first, end = self.row_range
        return end - first

    def record(self, data: bytes, where: str) -> ShardRecord:
        """Return the record in `data`. Raises ShardError naming `where` unless it is the one of this entry."""
        record = ShardRecord.parse(data, where, self.name)
        if sha256_bytes(data) != self.record_sha256:
            raise ShardError(
                f"{where}: is the record of another run than the manifest. Build the folder again."
            )
        for name, found, wanted in (
            ("rows", record.row_range, self.row_range),
            ("samples", record.samples, self.samples),
            ("tokens", record.tokens, self.tokens),
        ):
            if found != wanted:
                raise ShardError(
                    f"{where}: its {name} is {found}, the manifest says {wanted}. Do not use this folder."
                )
        return record

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Return what `fields` of the manifest say. Raises ShardError naming the field that cannot be right."""
        return cls(
            name=fields.matching("name", _SHARD_NAME),
            row_range=fields.row_range("rows"),
            samples=fields.count("samples"),
            tokens=fields.count("tokens"),
            tar_bytes=fields.count("bytes"),
            record_sha256=fields.sha256("record_sha256"),
        )

    def document(self) -> dict[str, object]:
        """Return the entry as the manifest holds it."""
        return {
            "name": self.name,
            "rows": self.row_range,
            "samples": self.samples,
            "tokens": self.tokens,
            "bytes": self.tar_bytes,
            "record_sha256": self.record_sha256,
        }


class ShardEntries(Sequence[ShardEntry]):
    """The entries of a manifest, in order."""

    def __init__(self, columns: "_Columns") -> None:
        self._columns = columns

    @classmethod
    def of(cls, entries: Iterable[ShardEntry]) -> Self:
        """Return these entries."""
        listed = list(entries)
        numbers = [
            (int(each.name[-8:]), each.tar_bytes, *each.row_range, each.samples, each.tokens)
            for each in listed
        ]
        hashes = b"".join(bytes.fromhex(each.record_sha256) for each in listed)
        table = np.array(numbers, np.int64).reshape(len(listed), 6)
        return cls(_Columns(table, np.frombuffer(hashes, np.uint8).reshape(len(listed), 32)))

    @classmethod
    def parse(cls, data: memoryview) -> Self | None:
        """Return the entries in canonical JSON, what stands between the brackets of the list.

        None where it is not what `document` gives, character by character, or holds what `ShardEntry.read` refuses.
        """
        parts, begin = [], 0
        while begin < len(data):
            end = len(data)
            if end - begin > _CHUNK:
                end = begin + bytes(data[begin : begin + _CHUNK]).rfind(b"},{") + 1
            part = _parsed(np.frombuffer(data[begin:end], np.uint8))
            if part is None:
                return None
            parts.append(part)
            begin = end + 1  # a comma
            if end < len(data) and (data[end] != ord(",") or begin == len(data)):
                return None
        return (
            cls(_Columns(*(np.concatenate(column) for column in zip(*parts, strict=True)))) if parts else None
        )

    @property
    def samples(self) -> NDArray[np.int64]:
        """(shards,) how many samples each holds."""
        return self._columns.numbers[:, 4]

    @property
    def tar_bytes(self) -> NDArray[np.int64]:
        """(shards,) the size of each tar."""
        return self._columns.numbers[:, 1]

    def __len__(self) -> int:
        return len(self._columns.numbers)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ShardEntries):
            return NotImplemented
        mine, others = self._columns, other._columns
        return np.array_equal(mine.numbers, others.numbers) and np.array_equal(mine.hashes, others.hashes)

    __hash__ = None  # type: ignore[assignment]  # nobody needs it

    @overload
    def __getitem__(self, position: int) -> ShardEntry: ...
    @overload
    def __getitem__(self, position: slice) -> "ShardEntries": ...
    def __getitem__(self, position: int | slice) -> "ShardEntry | ShardEntries":
        numbers, hashes = self._columns.numbers[position], self._columns.hashes[position]
        if isinstance(position, slice):
            return ShardEntries(_Columns(numbers, hashes))
        unit, tar_bytes, first, end, samples, tokens = numbers.tolist()
        return ShardEntry(
            name=shard_name(unit),
            row_range=(first, end),
            samples=samples,
            tokens=tokens,
            tar_bytes=tar_bytes,
            record_sha256=hashes.tobytes().hex(),
        )


class _Columns(NamedTuple):
    """numbers: (shards, 6): unit, tar_bytes, first row, end of rows, samples, tokens.  hashes: (shards, 32)."""

    numbers: NDArray[np.int64]
    hashes: NDArray[np.uint8]


class _Unexpected(Exception):
    """Other characters than `ShardEntry.document` gives."""


def _parsed(text: NDArray[np.uint8]) -> _Columns | None:
    """Parse whole entries with commas between them; None where they are not canonical."""
    text = np.concatenate((np.zeros(_DIGITS, np.uint8), text))  # so that numbers can be read from their ends
    begins, ends = (np.flatnonzero(text == ord(brace)) for brace in "{}")
    commas = np.append(np.flatnonzero(text == ord(",")), len(text))
    if not len(begins) or len(begins) != len(ends) or len(commas) != 7 * len(begins):
        return None
    size, name, sha256, row, rows, samples, last = commas.reshape(-1, 7).T
    if begins[0] != _DIGITS or (begins[1:] != last[:-1] + 1).any() or (ends + 1 != last).any():
        return None
    try:
        _expect(text, rows - 1, b"]")
        numbers = [
            _numbers(text, _expect(text, size, b',"name":"shard-'), name - 1, digits=8),
            _numbers(text, _expect(text, begins, b'{"bytes":'), size),
            _numbers(text, _expect(text, sha256, b',"rows":['), row),
            _numbers(text, row + 1, rows - 1),
            _numbers(text, _expect(text, rows, b',"samples":'), samples),
            _numbers(text, _expect(text, samples, b',"tokens":'), ends),
        ]
        _expect(text, name - 1, b'"')
        hashes = _hashes(text, _expect(text, name, b',"record_sha256":"'), sha256 - 1)
        _expect(text, sha256 - 1, b'"')
    except _Unexpected:
        return None
    table = np.stack(numbers, axis=1)
    return None if (table[:, 2] > table[:, 3]).any() else _Columns(table, hashes)


def _expect(text: NDArray[np.uint8], begins: NDArray[Any], wanted: bytes) -> NDArray[Any]:  # Any: of intp
    """Return where `wanted` ends that stands at each of `begins`."""
    if (_windows(text, begins, len(wanted)) != np.frombuffer(wanted, np.uint8)).any():
        raise _Unexpected
    return begins + len(wanted)


def _numbers(
    text: NDArray[np.uint8], begins: NDArray[Any], ends: NDArray[Any], digits: int = 0
) -> NDArray[np.int64]:
    """Return the number between each of `begins` and `ends`. digits: of all; 0 = any, without a zero in front."""
    lengths = ends - begins
    most = int(lengths.max())
    if lengths.min() < 1 or most > _DIGITS or (digits and not lengths.min() == most == digits):
        raise _Unexpected
    if not digits and ((lengths > 1) & (text[begins] == ord("0"))).any():
        raise _Unexpected
    figures = _windows(text, ends - most, most) - np.uint8(ord("0"))
    figures[np.arange(most) < (most - lengths)[:, None]] = 0  # in front of the number
    if figures.max() > 9:
        raise _Unexpected
    values = np.zeros(len(begins), np.int64)
    for place in range(most):
        values = values * 10 + figures[:, place]
    return values


def _hashes(text: NDArray[np.uint8], begins: NDArray[Any], ends: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the hash of 64 hexadecimal figures between each of `begins` and `ends`, (n, 32)."""
    if (ends - begins != 64).any():
        raise _Unexpected
    nibbles = _NIBBLES[_windows(text, begins, 64)]
    if nibbles.max() > 15:
        raise _Unexpected
    return nibbles[:, ::2] << np.uint8(4) | nibbles[:, 1::2]


def _windows(text: NDArray[np.uint8], begins: NDArray[Any], size: int) -> NDArray[np.uint8]:
    """Return the `size` characters from each of `begins` on, (n, size)."""
    if begins.min() < 0 or begins.max() + size > len(text):
        raise _Unexpected
    found: NDArray[np.uint8] = np.lib.stride_tricks.sliding_window_view(text, size)[begins]
    return found
