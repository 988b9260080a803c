"""`Relevance` in a pipeline of Ray Data, and the shards that come out, beside those of `amix precompute`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amix.engine.base.errors import CorpusError, UsageError
from amix.loaders.corpus import CorpusOptions
from amix.loaders.precompute.ray_data import Relevance, write_shards
from amix.loaders.precompute.run import PrecomputeOptions, precompute
from amix.loaders.shards.manifest import Manifest
from tests.conftest import write_jsonl
from tests.loaders.conftest import contents
from tests.loaders.precompute.scheduler.conftest import Nodes


class Batches:
    """A data set as `write_shards` sees it."""

    def __init__(self, rows: list[dict[str, Any]], relevance: Relevance, ordered: bool = True) -> None:
        columns = {name: np.array([row[name] for row in rows], object) for name in ("text", "label")}
        self._columns = relevance(columns)
        options = type("Options", (), {"preserve_order": ordered})
        self.context = type("Context", (), {"execution_options": options})

    def iter_batches(self, batch_size: int, batch_format: str) -> Iterator[dict[str, Any]]:
        for start in range(0, len(self._columns["text"]), batch_size):
            yield {name: column[start : start + batch_size] for name, column in self._columns.items()}


@pytest.fixture(scope="module")
def rows(review_rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*review_rows[:20], {"text": None, "label": 1}, {"text": " ", "label": 0}, *review_rows[20:50]]


@pytest.fixture
def written(rows: list[dict[str, Any]], tiny_extractor: Path, tmp_path: Path) -> Path:
    """What `amix precompute` makes of the same rows."""
    corpus = write_jsonl(tmp_path / "rows.jsonl", rows)
    precompute(
        str(corpus),
        tmp_path / "written",
        extractor=tiny_extractor,
        corpus_options=CorpusOptions(labels=("bad", "good")),
        options=PrecomputeOptions(samples_per_shard=16, workers=1, max_length=12, heads="0.1,1"),
    )
    return tmp_path / "written"


GIVEN: dict[str, Any] = {"heads": "0.1,1", "max_length": 12}


def same_shards(out: Path, written: Path) -> None:
    def data(folder: Path) -> dict[str, bytes]:
        return {name: found for name, found in contents(folder).items() if name.startswith("shard-")}

    ours, theirs = data(out), data(written)
    assert ours.keys() == theirs.keys()
    for name, found in ours.items():
        if not name.endswith(".json"):  # records tell where the rows came from
            assert found == theirs[name], name
        else:
            facts = [json.loads(each) for each in (found, theirs[name])]
            assert facts[0]["samples"] == facts[1]["samples"]
            assert facts[0]["truncated"] == facts[1]["truncated"]
            assert [each[0] for each in facts[0]["rejects"]] == [each[0] for each in facts[1]["rejects"]]
    assert Manifest.read(out).label_names == Manifest.read(written).label_names


def test_shards_of_a_pipeline_are_those_of_precompute(
    rows: list[dict[str, Any]], written: Path, tiny_extractor: Path, tmp_path: Path
) -> None:
    told = {
        "extractor": tiny_extractor,
        "source": {"name": "x"},
        "label_names": ("bad", "good"),
        "samples_per_shard": 16,
        **GIVEN,
    }
    dataset: Any = Batches(rows, Relevance(tiny_extractor, **GIVEN))
    out = tmp_path / "out"
    manifest = write_shards(dataset, out, **told)
    same_shards(out, written)
    whole = contents(out)
    # What was lost is written again, the rest is left.
    (out / "manifest.json").unlink()
    (out / "shard-00000001.json").unlink()
    kept = (out / "shard-00000000.tar").stat().st_mtime_ns
    assert write_shards(dataset, out, **told).sha256 == manifest.sha256
    assert contents(out) == whole
    assert (out / "shard-00000000.tar").stat().st_mtime_ns == kept


def test_columns_have_the_shapes_that_are_promised(tiny_extractor: Path) -> None:
    texts = np.array(["a film", "", "the story is dull and hollow"], object)
    batch = Relevance(tiny_extractor, text_column="review", heads="1")({"review": texts, "id": np.arange(3)})
    assert list(batch) == ["review", "id", "input_ids", "relevance", "truncated"]
    lengths = [len(ids) for ids in batch["input_ids"]]
    assert lengths[1] == 0 < lengths[0] < lengths[2]
    for length, relevance_HT in zip(lengths, batch["relevance"], strict=True):
        assert relevance_HT.shape == (2, length)
        assert relevance_HT.dtype == np.float32
        np.testing.assert_allclose(relevance_HT.sum(axis=1), length, rtol=1e-5)


def test_what_cannot_be_right_is_refused(
    rows: list[dict[str, Any]], tiny_extractor: Path, tmp_path: Path
) -> None:
    relevance = Relevance(tiny_extractor)
    with pytest.raises(UsageError, match="no column 'text'; it has: sentence"):
        relevance({"sentence": np.array(["a"], object)})
    unordered: Any = Batches(rows, relevance, ordered=False)
    with pytest.raises(UsageError, match="preserve_order = True"):
        write_shards(unordered, tmp_path / "out", extractor=tiny_extractor, source={})
    empty: Any = Batches([{"text": None, "label": 0}], relevance)
    with pytest.raises(CorpusError, match="no text that can be used"):
        write_shards(empty, tmp_path / "out", extractor=tiny_extractor, source={})


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_relevance_runs_in_actors_of_ray_data(
    nodes: Nodes, rows: list[dict[str, Any]], written: Path, tiny_extractor: Path, tmp_path: Path
) -> None:
    import ray

    ray.init(nodes.address, log_to_driver=False)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        found = ray.data.from_items(rows, override_num_blocks=3).map_batches(
            Relevance,
            fn_constructor_kwargs={"extractor": str(tiny_extractor), **GIVEN},
            compute=ray.data.ActorPoolStrategy(size=2),
            num_cpus=0.5,
            batch_size=8,
        )
        write_shards(
            found,
            tmp_path / "out",
            extractor=tiny_extractor,
            source={"name": "x"},
            label_names=("bad", "good"),
            samples_per_shard=16,
            **GIVEN,
        )
    finally:
        ray.shutdown()
    same_shards(tmp_path / "out", written)
