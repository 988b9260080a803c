"""Real shards of the sixty reviews, made once by the real precompute."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

MakeShards = Callable[..., Path]
Rows = Iterable[Mapping[str, Any]]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models are faster on one thread, by far when other tests run beside."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def make_shards(
    tiny_extractor: Path,
    write_jsonl: Callable[[Path, Rows], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> MakeShards:
    """`make_shards(rows, extractor=..., no_labels=...)` -> a shard folder."""
    from amix.loaders.corpus import CorpusOptions
    from amix.loaders.precompute import PrecomputeOptions, precompute

    def make(rows: Rows, extractor: Path = tiny_extractor, heads: str = "all", **corpus: Any) -> Path:
        folder = tmp_path_factory.mktemp("shards")
        source = write_jsonl(folder / "rows.jsonl", rows)
        precompute(
            str(source),
            folder / "shards",
            extractor=extractor,
            corpus_options=CorpusOptions(**corpus),
            options=PrecomputeOptions(workers=1, heads=heads),
        )
        return folder / "shards"

    return make


@pytest.fixture(scope="session")
def reviews(make_shards: MakeShards, review_rows: list[dict[str, Any]]) -> Path:
    """Forty reviews to train on, with named classes."""
    return make_shards([named(row) for row in review_rows[:40]])


@pytest.fixture(scope="session")
def held_out(make_shards: MakeShards, review_rows: list[dict[str, Any]]) -> Path:
    """The other twenty."""
    return make_shards([named(row) for row in review_rows[40:]])


@pytest.fixture(scope="session")
def still_bert(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder without dropout, whose numbers differ between processes and compilers."""
    from transformers import AutoModel, AutoTokenizer

    folder = tmp_path_factory.mktemp("still")
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    AutoModel.from_pretrained(tiny_bert, **still).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(folder)
    return folder


def named(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its class as a name."""
    return {**row, "label": ("bad", "good")[row["label"]]}
