"""Limits of containers, from files as the kernel writes them under either version of control groups."""

import os
from pathlib import Path

import pytest

from amix.engine.base.machine import available_cores, available_memory

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@pytest.fixture
def machine(tmp_path: Path):
    """Return a function that lays out a machine's files and gives their two folders."""

    def write(files: dict[str, str]) -> tuple[Path, Path]:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "cgroup", tmp_path / "proc"

    return write


def test_without_limits_the_affinity_counts(machine) -> None:
    assert available_cores() >= 1
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
def test_a_containers_quota_counts_rounded_up(machine, files) -> None:
    assert available_cores(*machine(files)) == 1


def test_no_quota_of_version_1_is_no_limit(machine) -> None:
    files = {
        "proc/self/cgroup": "3:cpu:/\n",
        "cgroup/cpu/cpu.cfs_quota_us": "-1\n",
        "cgroup/cpu/cpu.cfs_period_us": "100000\n",
    }
    assert available_cores(*machine(files)) == CORES


def test_memory_is_what_is_free_within_the_limits(machine) -> None:
    free = {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable: 5000 kB\n"}
    assert available_memory(*machine({})) is None
    assert available_memory(*machine(free)) == 5000 * 1024
    limited = {**free, "proc/self/cgroup": "0::/job\n", "cgroup/job/memory.max": "1000000\n"}
    assert available_memory(*machine(limited)) == 1_000_000
    unlimited = {**free, "proc/self/cgroup": "0::/job\n", "cgroup/job/memory.max": "max\n"}
    assert available_memory(*machine(unlimited)) == 5000 * 1024
    before = {**free, "proc/self/cgroup": "7:memory:/\n", "cgroup/memory/memory.limit_in_bytes": "2000000\n"}
    assert available_memory(*machine(before)) == 2_000_000
