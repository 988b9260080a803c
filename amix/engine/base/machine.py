"""What this process may use of the machine (cores and memory, within the limits of a container), and what it used."""

import math
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_PROC = Path("/proc")


def available_cores(cgroups: Path = _CGROUPS, proc: Path = _PROC) -> int:
    """Return the number of cores that this process may use: its affinity, and a container's quota, rounded up."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quotas = []
    for folder in _folders("cpu", cgroups, proc):
        both = _numbers(folder / "cpu.max")  # version 2
        if len(both) != 2:
            both = [*_numbers(folder / "cpu.cfs_quota_us"), *_numbers(folder / "cpu.cfs_period_us")]
        if len(both) == 2 and both[0] > 0 and both[1] > 0:
            quotas.append(both[0] / both[1])
    return max(1, min(cores, math.ceil(min(quotas, default=cores))))


def available_memory(cgroups: Path = _CGROUPS, proc: Path = _PROC) -> int | None:
    """Return the bytes that are free without swapping, at most a container's limit; None if unknown."""
    found = _memory_limits(cgroups, proc)
    try:
        for line in (proc / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    except (OSError, ValueError):  # not Linux
        pass
    return min(found, default=None)


def total_memory(cgroups: Path = _CGROUPS, proc: Path = _PROC) -> int:
    """Return the machine's bytes of memory, used or free, at most a container's limit."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_memory_limits(cgroups, proc)])


def peak_memory() -> int:
    """Return the most bytes of memory that this process has had."""
    try:  # getrusage would count what the parent had before the exec
        lines = (_PROC / "self" / "status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    except (OSError, StopIteration):  # no Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _memory_limits(cgroups: Path, proc: Path) -> list[int]:
    """Return the limits that hold for this process, in bytes; none where it may use the whole machine."""
    return [
        limit
        for folder in _folders("memory", cgroups, proc)
        for name in ("memory.max", "memory.limit_in_bytes")  # version 2, version 1
        for limit in _numbers(folder / name)
    ]


def _folders(controller: str, cgroups: Path, proc: Path) -> Iterator[Path]:
    """Yield the folders whose limits hold for this process: its control group's, and those above it."""
    try:
        lines = (proc / "self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = cgroups / controller if controllers else cgroups
        own = base / path.lstrip("/")
        # In a container the path may be the host's. Then only the topmost folder exists here: the container's own.
        yield from (folder for folder in (own, *own.parents) if folder == base or base in folder.parents)


def _numbers(file: Path) -> list[int]:
    """Return the numbers in a file, without a `max`; none where there is no such file."""
    try:
        return [int(word) for word in file.read_text().split() if word != "max"]
    except (OSError, ValueError):
        return []
