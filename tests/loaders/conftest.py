"""Real caches made by real runs."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from amix.loaders.precompute.run import PrecomputeOptions, precompute
from tests.conftest import write_jsonl
from tests.loaders.s3 import s3_server
from tests.shared import SharedFolders


@pytest.fixture(scope="session")
def corpus(shared: SharedFolders, review_rows: list[dict[str, Any]]) -> Path:
    """Sixty reviews as JSON Lines; read only."""
    return (
        shared.make("corpus", lambda folder: write_jsonl(folder / "train.jsonl", review_rows)) / "train.jsonl"
    )


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The URL of an S3-compatible server on loopback."""
    with s3_server() as url:
        yield url


@pytest.fixture(scope="session")
def shards(shared: SharedFolders, corpus: Path, tiny_extractor: Path) -> Path:
    """Sixty reviews in four shards, every head; read only."""
    options = PrecomputeOptions(samples_per_shard=16, workers=1)

    def build(folder: Path) -> None:
        precompute(str(corpus), folder / "train", extractor=tiny_extractor, options=options)

    return shared.make("shards", build) / "train"


@pytest.fixture
def damaged(tmp_path: Path, shards: Path) -> Path:
    """A copy of the shards to damage."""
    return Path(shutil.copytree(shards, tmp_path / "damaged"))


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file of a folder by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def document(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds."""
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found
