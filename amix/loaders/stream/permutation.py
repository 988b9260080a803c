"""A permutation of many numbers, any stretch of which is computed by itself: the order of an epoch too long to hold.

A Feistel network over the smallest power of four that is large enough, whose values beyond the end are sent through it
again until they fall inside (cycle walking: Black and Rogaway 2002). So every number comes exactly once.
"""

import hashlib
from typing import overload

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 6  # 4 are the least that look random to those who do not know the keys (Luby and Rackoff 1988)
_ODD = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93))  # of SplitMix64 and rrxmrrxmsx
_HALF = np.uint64(32)
_STRETCH = 1 << 14


class KeyedPermutation:
    """The numbers from 0 to `count` in an order that `key` decides; a slice of it is an int64 array.

    count: below 2^62.  key: such as seed and epoch; another key gives another order that looks unrelated.
    """

    def __init__(self, count: int, *key: int) -> None:
        self._count = count
        half = max(1, ((count - 1).bit_length() + 1) // 2)
        self._half = np.uint64(half)
        self._mask = np.uint64((1 << half) - 1)
        data = ",".join(map(str, key)).encode()
        digest = hashlib.blake2b(data, digest_size=8 * _ROUNDS, person=b"amix order").digest()
        self._held = (0, np.zeros(0, np.int64))  # a stretch, since batch after batch is asked for
        self._keys = np.frombuffer(digest, "<u8").astype(np.uint64)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> NDArray[np.int64]: ...
    def __getitem__(self, place: int | slice) -> int | NDArray[np.int64]:
        if not isinstance(place, slice):
            place = range(self._count)[place]
            return int(self[place : place + 1][0])
        begin, end, step = place.indices(self._count)
        if step != 1 or end - begin > _STRETCH:
            return self._at(np.arange(begin, end, step, dtype=np.uint64))
        held_from, held = self._held
        if not held_from <= begin <= end <= held_from + len(held):
            held = self._at(np.arange(begin, min(begin + _STRETCH, self._count), dtype=np.uint64))
            held_from, self._held = begin, (begin, held)
        return held[begin - held_from : end - held_from].copy()

    def _at(self, places: NDArray[np.uint64]) -> NDArray[np.int64]:
        numbers = self._round(places)
        outside = np.flatnonzero(numbers >= self._count)
        while len(outside):  # at most three quarters, on average after a whole turn of the network
            numbers[outside] = self._round(numbers[outside])
            outside = outside[numbers[outside] >= self._count]
        return numbers.astype(np.int64)

    def _round(self, numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
        left, right = numbers >> self._half, numbers & self._mask
        for key in self._keys:
            mixed = (right ^ key) * _ODD[0]
            mixed ^= mixed >> _HALF
            mixed *= _ODD[1]
            left, right = right, left ^ (mixed >> _HALF & self._mask)
        return left << self._half | right
