"""What is refused before anything is read."""

import sys
from pathlib import Path
from typing import Any

import pytest

from amix.engine.base.errors import AmixError, DependencyError, UsageError
from amix.engine.base.installing import install
from amix.loaders.precompute.run import PrecomputeOptions, precompute


def refused(kind: type[AmixError], match: str, **options: Any) -> None:
    with pytest.raises(kind, match=match):
        precompute("no-corpus", Path("no-out"), extractor=Path("none"), options=PrecomputeOptions(**options))


def test_without_ray_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DependencyError, match="--scheduler ray needs Ray here and on every node") as caught:
        precompute(
            "no-corpus", Path("no-out"), extractor=Path("none"), options=PrecomputeOptions(scheduler="ray")
        )
    assert install("ray") in str(caught.value)


def test_ray_chooses_the_gpus() -> None:
    refused(UsageError, "Ray says which GPU a worker gets", scheduler="ray", device="cuda:0,cuda:1")
    refused(UsageError, "Ray says which GPU a worker gets", scheduler="ray", device="cuda:1")


def test_an_address_without_ray_is_refused() -> None:
    refused(UsageError, "--address is for --scheduler ray", address="auto")


def test_a_cluster_that_is_not_there_is_said_at_once(
    tiny_extractor: Path, corpus: Path, tmp_path: Path
) -> None:
    options = PrecomputeOptions(scheduler="ray", address="127.0.0.2:1")
    with pytest.raises(UsageError, match=r"--address 127\.0\.0\.2:1: no Ray cluster can be reached there"):
        precompute(str(corpus), tmp_path / "out", extractor=tiny_extractor, options=options)
    assert not (tmp_path / "out").exists()
