"""The JSON of a manifest, read quickly: its shards become columns of numbers, without an object for each.

Parsing a million of them as JSON would take gigabytes, and tens of seconds. Since they are canonical JSON of a fixed
form, the places of braces and commas tell where each number is.
"""

import hashlib
import json
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from amix.engine.base import canonical

_SHARDS = b',"shards":['
_HASH_BYTES = len(',"sha256":""') + 64
_CHUNK = 1 << 19  # bytes of JSON that are parsed at once
_DIGITS = 18  # of a number that is surely below the largest that `Fields` takes
_NIBBLES = np.full(256, 255, np.uint8)
_NIBBLES[list(b"0123456789abcdef")] = range(16)


class Columns(NamedTuple):
    """numbers: (shards, 6): unit, tar_bytes, first row, end of rows, samples, tokens.  hashes: (shards, 32)."""

    numbers: NDArray[np.int64]
    hashes: NDArray[np.uint8]


def unsealed(data: bytes) -> tuple[dict[str, Any], Columns] | None:  # Any: JSON, which `Fields` checks
    """Return the document that `canonical.seal` wrote, and its shards apart.

    None where it is not quite what `seal` writes, or its own hash is another.
    """
    begin = data.find(_SHARDS)
    end = data.rfind(b"}]", begin) + 1  # nothing behind them is a list of objects
    own_hash = begin - _HASH_BYTES  # which stands in front of the shards
    if begin < 0 or end <= begin or own_hash < 0 or not data.endswith(b"}\n"):
        return None
    bare = data[: begin + len(_SHARDS)] + data[end:]
    try:
        document = json.loads(bare)
        if document.get("shards") != [] or canonical.dumps(document) + b"\n" != bare:
            return None
    except (ValueError, AttributeError, RecursionError):
        return None
    view, sha256 = memoryview(data), hashlib.sha256()
    sha256.update(view[:own_hash])
    sha256.update(view[begin:-1])
    if data[own_hash:begin] != f',"sha256":"{sha256.hexdigest()}"'.encode():
        return None
    columns = parse_columns(view[begin + len(_SHARDS) : end])
    return None if columns is None else (document, columns)


def parse_columns(data: memoryview) -> Columns | None:
    """Return the entries in canonical JSON, what stands between the brackets of the list.

    None where it is not what `ShardEntry.document` gives, character by character, or holds what `ShardEntry.read`
    refuses.
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
    return Columns(*(np.concatenate(column) for column in zip(*parts, strict=True))) if parts else None


class _Unexpected(Exception):
    """Other characters than `ShardEntry.document` gives."""


def _parsed(text: NDArray[np.uint8]) -> Columns | None:
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
    return None if (table[:, 2] > table[:, 3]).any() else Columns(table, hashes)


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
