"""`--workers auto` on small, usual and large machines."""

import pytest

from amix.loaders.precompute.sizing import sensible_workers, worker_bytes

GB = 10**9
SMALL, LARGE = 90_000_000, 440_000_000  # graphs of MiniLM and of BERT-base


@pytest.mark.parametrize(
    ("cores", "memory", "model", "workers"),
    [
        (1, 24 * GB, SMALL, 1),
        (2, 24 * GB, SMALL, 2),
        (16, 128 * GB, SMALL, 16),
        (16, 128 * GB, LARGE, 16),
        (16, None, LARGE, 16),
        (16, 4 * GB, SMALL, 11),
        (16, 4 * GB, LARGE, 3),
        (2, GB // 4, LARGE, 1),
    ],
)
def test_one_worker_a_core_as_far_as_memory_goes(
    cores: int, memory: int | None, model: int, workers: int
) -> None:
    assert sensible_workers(cores, memory, model) == workers
    assert workers == 1 or memory is None or workers * worker_bytes(model) <= memory
