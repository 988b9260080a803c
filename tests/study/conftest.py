"""Comparisons that tests run in this process have workers that need not import torch again, which takes seconds.

They are forked from the server of tests/conftest.py. What `amix compare` does by itself, a spawn of every worker, is
run by the tests that call it as a command of its own.
"""

import multiprocessing
from multiprocessing.context import ForkServerContext

import pytest


@pytest.fixture(autouse=True)
def warm_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the workers of comparisons from a server."""

    def context(method: str) -> ForkServerContext:
        assert method == "spawn"
        return multiprocessing.get_context("forkserver")

    monkeypatch.setattr("amix.study.compare.worker.get_context", context)
    # A second thread of so small a model only waits for the first, and takes a core from other tests meanwhile.
    monkeypatch.setattr("amix.study.compare.runner.available_cores", lambda: 1)
