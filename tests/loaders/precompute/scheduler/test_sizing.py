"""How a cluster is divided among workers."""

from typing import Any

import pytest

from amix.loaders.precompute.scheduler.ray.sizing import share_of

GB = 10**9


def node(cpus: int, memory: int = 64 * GB, gpus: int = 0, alive: bool = True) -> dict[str, Any]:
    gpu = {"GPU": float(gpus)} if gpus else {}
    return {"Alive": alive, "Resources": {"CPU": float(cpus), "memory": float(memory), **gpu}}


@pytest.mark.parametrize(
    ("nodes", "asked", "workers", "threads"),
    [
        ([node(4), node(8), node(8, alive=False)], None, 12, 1),
        ([node(4, memory=2 * GB), node(4)], None, 6, 1),  # a gigabyte for each
        ([node(4), node(4)], 2, 2, 4),
        ([node(4), node(4)], 3, 3, 2),
        ([node(3), node(3)], 1, 1, 3),
        ([node(2)], 16, 16, 1),  # the cluster may grow
        ([node(0)], 3, 3, 1),
        ([node(0)], None, 0, 1),
    ],
)
def test_cores_are_divided(
    nodes: list[dict[str, Any]], asked: int | None, workers: int, threads: int
) -> None:
    share = share_of(nodes, asked, on_gpu=False, memory=GB)
    assert (share.workers, share.threads) == (workers, threads)


@pytest.mark.parametrize(
    ("nodes", "asked", "workers", "threads", "gpus"),
    [
        ([node(16, gpus=2), node(8)], None, 2, 8, 1),
        ([node(16, gpus=2), node(8, gpus=2)], 8, 8, 2, 0.5),
        ([node(16, gpus=4)], 2, 2, 4, 1),
        ([node(16)], None, 0, 1, 1),
        ([node(16)], 4, 4, 1, 1),  # nodes with GPUs may come
    ],
)
def test_gpus_are_divided(
    nodes: list[dict[str, Any]], asked: int | None, workers: int, threads: int, gpus: float
) -> None:
    share = share_of(nodes, asked, on_gpu=True, memory=GB)
    assert (share.workers, share.threads, share.gpus) == (workers, threads, gpus)
