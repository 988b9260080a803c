"""The lock on a folder: one holder at a time, no file left behind."""

import os
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
