"""How many workers a cluster gets, and what each of them asks for."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Share:
    """workers: how many.  threads: cores of each.  gpus: of each.  of_a_gpu: how many workers share one."""

    workers: int
    threads: int
    gpus: float
    of_a_gpu: int


def share_of(nodes: Iterable[Mapping[str, Any]], workers: int | None, *, on_gpu: bool, memory: int) -> Share:
    """Return how a cluster is divided. No workers where none has room and their number was not given.

    nodes: as `ray.nodes()` describes them.  workers: how many were asked for; None = one for each core as far as
        memory allows, or one for each GPU.  memory: bytes of a worker.
    A cluster may grow, so a number that was asked for is never made smaller.
    """
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    if on_gpu:
        with_gpu = [each for each in resources if each.get("GPU", 0) >= 1]
        gpus = sum(int(each["GPU"]) for each in with_gpu)
        count = workers or gpus
        # Where there are no GPUs yet, each worker gets a whole one.
        sharing = max(1, math.ceil(count / gpus)) if gpus else 1
        shares = (int(each.get("CPU", 1) // (each["GPU"] * sharing)) for each in with_gpu)
        return Share(
            workers=count, threads=max(1, min(shares, default=1)), gpus=1 / sharing, of_a_gpu=sharing
        )
    cores = [int(each.get("CPU", 0)) for each in resources]
    count = workers or sum(
        min(count, int(each.get("memory", 0)) // memory) for count, each in zip(cores, resources, strict=True)
    )
    fitting = (
        threads
        for threads in range(max(cores, default=1), 1, -1)
        if sum(c // threads for c in cores) >= count
    )
    return Share(workers=count, threads=next(fitting, 1) if workers else 1, gpus=0, of_a_gpu=1)
