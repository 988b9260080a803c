"""Who is mixed with whom, and where randomness comes from: never the global generator.

Axes: B batch.
"""

import hashlib
import struct

import torch
from torch import Generator, Tensor


def step_generator(seed: int, epoch: int, step: int, group: int = 0) -> Generator:
    """Return a CPU generator that depends on nothing but its four arguments.

    A rank owns whole groups, so the same pairs and ratios come out under any number of ranks and workers.
    """
    key = struct.pack("<4q", seed, epoch, step, group)
    word = hashlib.blake2b(key, digest_size=8, person=b"amix.step").digest()
    return torch.Generator().manual_seed(int.from_bytes(word, "little") >> 1)


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
