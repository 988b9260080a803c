"""The lock on a folder: one holder at a time, no file left behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from amix.engine.base.errors import ShardError, UsageError
from amix.engine.base.processes import lock_folder


def test_a_lock_has_one_holder_and_ends_with_its_descriptor(tmp_path: Path) -> None:
    first = lock_folder(tmp_path, "writing shards", ShardError)
    with pytest.raises(ShardError, match=r"another process is writing shards there\. Wait for it"):
        lock_folder(tmp_path, "writing shards", ShardError)
    os.close(first)
    os.close(lock_folder(tmp_path, "writing shards", ShardError))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_opened_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent: cannot be opened \(No such file or directory\)"):
        lock_folder(tmp_path / "absent", "writing shards", ShardError)


def test_signals_are_blocked_in_every_worker_until_it_is_one(tmp_path: Path) -> None:
    # A process of its own: the first worker is the one that starts multiprocessing's resource tracker too.
    script = tmp_path / "script.py"
    script.write_text("""
import multiprocessing, signal
from amix.engine.base.processes import start_worker
from amix.engine.base.stopping import STOPPING

def blocked(connection):
    connection.send(sorted(STOPPING - signal.pthread_sigmask(signal.SIG_BLOCK, ())))

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    for _ in range(2):
        ours, theirs = context.Pipe()
        start_worker(process := context.Process(target=blocked, args=(theirs,)))
        print(ours.recv())
        process.join()
    print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
""")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "[]", "[]"]
