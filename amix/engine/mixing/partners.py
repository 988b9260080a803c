"""Who is mixed with whom, and where randomness comes from: never the global generator.

Axes: B batch.
"""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from amix.engine.base.errors import MixingError
from amix.engine.base.words import counted
from amix.engine.mixing.choices import PartnerChoice

CLASS_AWARE = frozenset({"other-class", "same-class"})

# Groups of rows draw from streams 0, 1, ...; these streams are for the draws that belong to no group.
DROPOUT_STREAM, BATCH_STREAM = -1, -(2**32)


def step_generator(seed: int, epoch: int, step: int, group: int = 0) -> Generator:
    """Return a CPU generator that depends on nothing but its four arguments.

    A rank owns whole groups, so the same pairs and ratios come out under any number of ranks and workers.
    group: of the global batch, from 0; or `BATCH_STREAM`, or `DROPOUT_STREAM` minus the rank.
    """
    key = struct.pack("<4q", seed, epoch, step, group)
    word = hashlib.blake2b(key, digest_size=8, person=b"amix.step").digest()
    return torch.Generator().manual_seed(int.from_bytes(word, "little") >> 1)


@dataclass(frozen=True)
class Draws:
    """What the random draws for a rank's rows of a batch depend on.

    seed, epoch, step: which batch it is.  group_size: consecutive rows that choose partners among themselves.
    first_group: number, in the global batch, of the first group of these rows.
    """

    seed: int
    epoch: int
    step: int
    group_size: int
    first_group: int = 0

    def whole(self) -> Generator:
        """Return a generator for what holds for the global batch, the same on every rank."""
        return step_generator(self.seed, self.epoch, self.step, BATCH_STREAM)

    def groups(self, rows: int) -> Iterator[tuple[slice, Generator]]:
        """Split `rows` rows into groups, the last of which may be shorter; yield each with its generator."""
        for number, begin in enumerate(range(0, rows, self.group_size)):
            generator = step_generator(self.seed, self.epoch, self.step, self.first_group + number)
            yield slice(begin, begin + self.group_size), generator


def draw_partners(
    choice: PartnerChoice,
    lengths_B: Tensor,
    labels: Tensor | None,
    generator: Generator | None = None,
) -> Tensor:
    """Return a partner for every row, (B,) int64, on the CPU; a row without a candidate is its own partner.

    choice: `random` = a permutation without fixed points; `other-class`, `same-class` = one of the rows whose
        label differs or is the same, each equally likely, so a row may be drawn more than once;
        `similar-length` = rows sorted by length, each swapped with its neighbour.
    lengths_B: tokens of every row.  labels: (B,) class ids or (B, C) weights, for the class-aware choices;
        rows of weights are the same class when they are equal.
    Raises MixingError when labels are needed and missing, or are of another batch.
    """
    match choice:
        case "random":
            return derangement(len(lengths_B), generator)
        case "similar-length":
            return _neighbours(lengths_B.cpu(), generator)
        case "other-class" | "same-class":
            if labels is None or len(labels) != len(lengths_B):
                what = (
                    "none given"
                    if labels is None
                    else f"{len(labels)} given for {counted(len(lengths_B), 'row')}"
                )
                raise MixingError(
                    f"partner='{choice}' needs the batch's labels: {what}. Pass labels=batch['labels']."
                )
            labels = labels.cpu().reshape(len(labels), -1)
            alike_BB = (labels[:, None, :] == labels[None, :, :]).all(dim=2)
            if choice == "other-class":
                return _one_of(~alike_BB, generator)
            return _one_of(alike_BB & ~torch.eye(len(labels), dtype=torch.bool), generator)


def derangement(rows: int, generator: Generator | None = None) -> Tensor:
    """Return a uniformly drawn permutation of `rows` without fixed points, (B,) int64, on the CPU.

    A lone row can only stay itself. Rejection takes e = 2.7 tries on average and keeps the draw uniform;
    a cyclic shuffle would leave out every permutation of more than one cycle.
    """
    identity_B = torch.arange(rows)
    if rows < 2:
        return identity_B
    while True:
        partner_B = torch.randperm(rows, generator=generator)
        if not bool((partner_B == identity_B).any()):
            return partner_B


def _neighbours(lengths_B: Tensor, generator: Generator | None) -> Tensor:
    """Pair the rows that are neighbours when sorted by length, ties in random order; an odd end is a cycle of three."""
    rows = len(lengths_B)
    partner_B = torch.arange(rows)
    if rows < 2:
        return partner_B
    shuffled_B = torch.randperm(rows, generator=generator)
    order_B = shuffled_B[lengths_B[shuffled_B].argsort(stable=True)]
    even = rows - rows % 2
    partner_B[order_B[0:even:2]] = order_B[1:even:2]
    partner_B[order_B[1:even:2]] = order_B[0:even:2]
    if rows % 2:
        first, second, third = order_B[-3:]
        partner_B[first], partner_B[second], partner_B[third] = second, third, first
    return partner_B


def _one_of(allowed_BB: Tensor, generator: Generator | None) -> Tensor:
    """Draw one allowed column per row, each equally likely; the row itself where none is."""
    count_B = allowed_BB.sum(dim=1)
    place_B = (torch.rand(len(count_B), generator=generator, dtype=torch.float64) * count_B).long()
    # The n-th allowed column is the first at which n + 1 have been counted.
    found_B = (allowed_BB.cumsum(dim=1) > place_B[:, None]).int().argmax(dim=1)
    return torch.where(count_B > 0, found_B, torch.arange(len(count_B)))
