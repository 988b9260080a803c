"""Caches with other labels: the same texts and relevance, and what the labels say about themselves."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from amix.engine.base.errors import ShardError, UsageError
from amix.loaders.shards.manifest import Manifest
from amix.loaders.shards.rewrite.relabel import NewLabels, relabel
from amix.loaders.shards.rewrite.repack import RepackOptions, repack
from amix.loaders.shards.verify import verify
from amix.loaders.stream.dataset import RelevanceDataset
from tests.loaders.conftest import contents
from tests.loaders.forge import forge, layout_of

LENGTHS = np.random.default_rng(1).integers(1, 30, 50).tolist()
REJECTS = (3, 16, 17, 49)
KINDS = {
    "class ids": layout_of(),
    "pairs with texts": layout_of(token_types=True, text=True),
    "class weights": layout_of(classes=3),
    "no labels": layout_of(cls=False),
}


def weights_of(rows: range) -> NDArray[np.float32]:
    """The labels of the rows that were not rejected: the first class becomes likelier with the row."""
    found = np.array([row for row in rows if row not in REJECTS], np.float32)
    return np.stack([found / 100, 1 - found / 100], axis=1)


def labels(*, soft: bool = True, origin: object = "a teacher") -> NewLabels:
    return NewLabels(names=("no", "yes"), soft=soft, origin=origin, weights=weights_of)


@pytest.mark.parametrize("kind", KINDS)
def test_texts_and_relevance_stay(kind: str, tmp_path: Path) -> None:
    source = forge(tmp_path / "source", LENGTHS, KINDS[kind], rejects=REJECTS)
    manifest = relabel(source, tmp_path / "out", labels())
    assert verify(tmp_path / "out", deep=True) == []
    assert (manifest.label_names, manifest.class_weights, manifest.multi_label) == (
        ("no", "yes"),
        True,
        False,
    )
    before, after = RelevanceDataset(source, head="mean"), RelevanceDataset(tmp_path / "out", head="mean")
    assert [entry.row_range for entry in manifest.shards] == [
        entry.row_range for entry in before.manifest.shards
    ]
    assert list(after.manifest.rejects()) == list(before.manifest.rejects())
    assert len(before) == len(after) == 46
    for number, row in enumerate(after.rows().tolist()):
        one, two = before[number], after[number]
        assert two.pop("labels").tolist() == weights_of(range(row, row + 1))[0].tolist()
        one.pop("labels", None)
        assert one.keys() == two.keys()
        assert all(np.array_equal(one[name], two[name]) for name in one)


def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    source = forge(tmp_path / "source", LENGTHS, layout_of(cls=False), rejects=REJECTS)
    relabel(source, tmp_path / "whole", labels())
    asked: list[range] = []

    class Stop(Exception):
        pass

    def stopping(rows: range) -> NDArray[np.float32]:
        asked.append(rows)
        if len(asked) == 2:
            raise Stop
        return weights_of(rows)

    tired = NewLabels(names=("no", "yes"), soft=True, origin="a teacher", weights=stopping)
    with pytest.raises(Stop):
        relabel(source, tmp_path / "out", tired)
    with pytest.raises(ShardError, match="labelled_by = a teacher, now it is another"):
        relabel(source, tmp_path / "out", labels(origin="another"))
    relabel(source, tmp_path / "out", tired)
    assert asked[2] == asked[1]  # the first shard was not labelled again
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    relabel(source, tmp_path / "out", labels(origin="another"), restart=True)


def test_what_labels_mean_goes_with_them(tmp_path: Path) -> None:
    source = forge(tmp_path / "source", LENGTHS, layout_of(cls=False), rejects=REJECTS)
    several = relabel(source, tmp_path / "several", labels(soft=False))
    assert several.multi_label
    relabel(source, tmp_path / "soft", labels())
    packed = repack([tmp_path / "soft"], tmp_path / "packed", RepackOptions(samples_per_shard=9))
    assert not packed.multi_label
    assert Manifest.read(tmp_path / "packed").class_weights
    with pytest.raises(ShardError, match="another kind of labels"):
        repack([tmp_path / "soft", tmp_path / "several"], tmp_path / "both")
    with pytest.raises(UsageError, match="is the source"):
        relabel(source, source, labels())
