"""These tests need amix as users get it: `make test-installed` installs the wheel, and says where."""

import os
from pathlib import Path

import pytest

INSTALLED = "AMIX_INSTALLED"

collect_ignore_glob = [] if INSTALLED in os.environ else ["test_*.py"]


@pytest.fixture(scope="session")
def bin_folder() -> Path:
    """The folder of the commands of the environment that has the wheel and no extra."""
    return Path(os.environ[INSTALLED]).absolute() / "bin"
