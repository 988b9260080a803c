"""Real caches made by real runs."""

import json
import shutil
from pathlib import Path

import pytest

from amix.loaders.precompute.run import PrecomputeOptions, precompute


@pytest.fixture(scope="session")
def corpus(tmp_path_factory, review_rows, write_jsonl) -> Path:
    return write_jsonl(tmp_path_factory.mktemp("corpus") / "train.jsonl", review_rows)


@pytest.fixture(scope="session")
def shards(tmp_path_factory, corpus, tiny_extractor) -> Path:
    """Sixty reviews in four shards, every head; read only."""
    out = tmp_path_factory.mktemp("shards") / "train"
    precompute(
        str(corpus), out, extractor=tiny_extractor, options=PrecomputeOptions(samples_per_shard=16, workers=1)
    )
    return out


@pytest.fixture
def damaged(tmp_path, shards) -> Path:
    """A copy of the shards to damage."""
    return Path(shutil.copytree(shards, tmp_path / "damaged"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def document(path: Path) -> dict:
    return json.loads(path.read_bytes())
