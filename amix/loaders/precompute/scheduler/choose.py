"""Which scheduler a run has: the one that `--scheduler` names."""

import importlib.util
from collections.abc import Sequence
from typing import assert_never

from amix.engine.base.errors import DependencyError, UsageError
from amix.engine.base.installing import install
from amix.loaders.precompute.options import PrecomputeOptions
from amix.loaders.precompute.scheduler.interface import Computing, Scheduler


def require_scheduler(options: PrecomputeOptions, devices: Sequence[str]) -> None:
    """Raise DependencyError or UsageError where the options name a scheduler that cannot be had, or not with these."""
    if options.scheduler != "ray":
        return
    if importlib.util.find_spec("ray") is None:
        raise DependencyError(
            f"--scheduler ray needs Ray here and on every node of the cluster. Install it with: {install('ray')}"
        )
    if devices not in (("cpu",), ("cuda:0",)):
        raise UsageError(
            f"--device {options.device}: Ray says which GPU a worker gets. Use --device cuda, and --workers N for more "
            "workers than GPUs."
        )


def scheduler_of(options: PrecomputeOptions, computing: Computing, devices: Sequence[str]) -> Scheduler:
    """Return the scheduler that the options ask for; it is not connected yet."""
    match options.scheduler:
        case "local":
            from amix.loaders.precompute.scheduler.local import LocalScheduler

            return LocalScheduler(computing, devices)
        case "ray":
            from amix.loaders.precompute.scheduler.ray.scheduler import RayScheduler

            return RayScheduler(computing, devices, options.address)
        case _:
            assert_never(options.scheduler)
