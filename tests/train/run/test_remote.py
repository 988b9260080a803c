"""Training from shards that are elsewhere."""

from pathlib import Path

import pytest
import yaml

from amix.loaders.stores import transfer
from amix.train.options.config import TrainConfig
from amix.train.run.train import train
from tests.loaders.flaky import FlakyStore

CONFIG = TrainConfig(epochs=2, batch_size=8, lr=1e-3, shuffle="window", window=8, bucket_batches=2)


def test_shards_from_a_store_that_fails_now_and_then_train_the_same_model(
    reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "FIRST_PAUSE", 0.01)
    monkeypatch.setenv("AMIX_CACHE", str(tmp_path / "cache"))
    here = train(reviews, tmp_path / "here", str(tiny_bert), CONFIG, dev=held_out, evals=[("test", held_out)])
    with (
        FlakyStore(reviews, lambda method, path, before: "500" if before == 0 else None) as shards,
        FlakyStore(held_out) as others,
    ):
        there = train(
            f"{shards.url}?key=s3cr3t",
            tmp_path / "there",
            str(tiny_bert),
            CONFIG,
            dev=others.url,
            evals=[("test", others.url)],
        )
    assert there.eval == here.eval
    assert there.dev == here.dev
    written = (tmp_path / "there" / "config.yaml").read_text()
    assert "s3cr3t" not in written
    assert yaml.safe_load(written)["shards"] == shards.url
