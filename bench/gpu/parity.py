"""How far relevance from the card is from that of the float32 graph on the CPU.

Axes: B batch, T tokens.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from amix.engine.extractor.session import open_session
from gpu.contenders import Contender
from gpu.journal import Journal
from gpu.texts import Batch


def measure(
    reference: Path, sessions: Mapping[str, Contender], batches: Sequence[Batch], journal: Journal
) -> None:
    """Write down the differences. reference: float32 extractor.  sessions: by the name of their figures."""
    session = open_session(reference, device="cpu")
    expected = [session.run(*batch) for batch in batches]
    norm = math.sqrt(sum(float(np.square(each, dtype=np.float64).sum()) for each in expected))
    for name, opened in sessions.items():
        apart = [
            np.asarray(opened.run(*batch), np.float64) - each
            for batch, each in zip(batches, expected, strict=True)
        ]
        squares = sum(float(np.square(each).sum()) for each in apart)
        journal.figure(f"{name}, relative L2", math.sqrt(squares) / norm, "share")
        largest = max(float(np.abs(each).max()) for each in apart)
        journal.figure(f"{name}, largest difference", largest, "attention")
