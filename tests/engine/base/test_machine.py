"""Limits of containers, from files as the kernel writes them under either version of control groups."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from amix.engine.base.machine import available_cores, available_memory, total_memory

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


Machine = Callable[[dict[str, str]], tuple[Path, Path]]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a function that lays out a machine's files and gives their two folders."""

    def write(files: dict[str, str]) -> tuple[Path, Path]:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "cgroup", tmp_path / "proc"

    return write


def test_without_limits_the_affinity_counts(machine: Machine) -> None:
    assert 1 <= available_cores() <= CORES
    assert available_cores(*machine({})) == CORES
    assert (
        available_cores(*machine({"proc/self/cgroup": "0::/\n", "cgroup/cpu.max": "max 100000\n"})) == CORES
    )


@pytest.mark.parametrize(
    "files",
    [
        {"proc/self/cgroup": "0::/\n", "cgroup/cpu.max": "100000 100000\n"},
        {
            "proc/self/cgroup": "0::/a/b\n",
            "cgroup/a/cpu.max": "50000 100000\n",
            "cgroup/a/b/cpu.max": "max 100000\n",
        },
        {  # the host's path, which a container does not see
            "proc/self/cgroup": "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n",
            "cgroup/cpu/cpu.cfs_quota_us": "90000\n",
            "cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
    ],
)
def test_a_containers_quota_counts_rounded_up(machine: Machine, files: dict[str, str]) -> None:
    assert available_cores(*machine(files)) == 1


def test_a_quota_of_minus_1_is_not_a_limit(machine: Machine) -> None:
    files = {
        "proc/self/cgroup": "3:cpu:/\n",
        "cgroup/cpu/cpu.cfs_quota_us": "-1\n",
        "cgroup/cpu/cpu.cfs_period_us": "100000\n",
    }
    assert available_cores(*machine(files)) == CORES


def test_memory_is_what_is_free_or_there_within_the_limits(machine: Machine) -> None:
    def found(files: dict[str, str]) -> tuple[int | None, int | None]:
        folders = machine(files)
        return available_memory(*folders), total_memory(*folders)

    meminfo = {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable: 5000 kB\n"}
    assert found({}) == (None, MEMORY)
    assert found(meminfo) == (5000 * 1024, MEMORY)
    limited = {**meminfo, "proc/self/cgroup": "0::/job\n", "cgroup/job/memory.max": "1000000\n"}
    assert found(limited) == (1_000_000, 1_000_000)
    unlimited = {**meminfo, "proc/self/cgroup": "0::/job\n", "cgroup/job/memory.max": "max\n"}
    assert found(unlimited) == (5000 * 1024, MEMORY)
    roomy = {**meminfo, "proc/self/cgroup": "0::/job\n", "cgroup/job/memory.max": "7000000\n"}
    assert found(roomy) == (5000 * 1024, 7_000_000)
    first = {
        **meminfo,
        "proc/self/cgroup": "7:memory:/\n",
        "cgroup/memory/memory.limit_in_bytes": "2000000\n",
    }
    assert found(first) == (2_000_000, 2_000_000)
