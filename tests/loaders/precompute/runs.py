"""Runs of `amix precompute` that are ended early: how they are started, looked at and judged."""

import fcntl
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from amix.loaders.precompute.run import PrecomputeOptions
from tests.loaders.conftest import contents

needs_proc = pytest.mark.skipif(
    not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists(),
    reason="finding workers and open files needs Linux's /proc",
)

PATIENCE = 60.0  # seconds; far more than anything here takes


def command(
    corpus: Path, out: Path, extractor: Path, options: PrecomputeOptions, *extra: object
) -> list[str]:
    """Return the command line of a run."""
    arguments = [corpus, out, "--extractor", extractor, "--samples-per-shard", options.samples_per_shard]
    return [sys.executable, "-m", "amix", "precompute", *map(str, [*arguments, *extra])]


def records(out: Path) -> set[str]:
    """Return the records that are published."""
    return {path.name for path in out.glob("shard-*.json")}


def workers_of(pid: int) -> list[int]:
    """Return the processes that `pid` spawned for work."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in task.read_text().split():
                if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
        except OSError:  # it has just gone
            continue
    return found


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for what must happen soon."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def is_running(pid: int) -> bool:
    """Whether a process is there and not only waiting to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_for_the_end_of(pids: Sequence[int]) -> None:
    """Wait until none of the processes is running."""
    wait_until(lambda: not any(map(is_running, pids)))


def assert_whole_so_far(out: Path, want: Mapping[str, bytes]) -> None:
    """Check that everything with a final name in `out` is whole, and that nobody has locked the folder."""
    for name, data in contents(out).items():
        if ".tmp-" not in name:
            assert data == want[name], name
    descriptor = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)
