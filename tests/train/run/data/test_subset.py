"""The texts that are drawn to train on, and those that are held out."""

from pathlib import Path

import numpy as np
import pytest

from amix.engine.base.errors import UsageError
from amix.train.run.data.subset import draw_subset, hold_out


def test_a_subset_is_drawn_without_the_labels_and_nests() -> None:
    small, large = (draw_subset(100, wanted, 3, Path("shards")) for wanted in (10, 40))
    another = draw_subset(100, 10, 4, Path("shards"))
    assert small is not None and large is not None and another is not None
    assert len(set(small.tolist())) == 10
    assert set(small.tolist()) < set(large.tolist())
    assert small.tolist() != another.tolist()
    assert draw_subset(100, None, 3, Path("shards")) is None


@pytest.mark.parametrize("counts", [(25, 25), (26, 24), (90, 8, 2), (40, 30, 20, 9, 1), (7,), (1, 1, 1, 9)])
@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_every_class_is_held_out_in_proportion(counts: tuple[int, ...], share: float) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)) - 1, counts))
    held = hold_out(labels, share, 5)
    assert held.sum() == round(share * len(labels))
    for number, count in enumerate(counts):
        found = int(held[labels == number - 1].sum())
        assert found < count  # some are left to train on
        if min(counts) * share >= 1:
            assert abs(found - share * count) < 1
    assert hold_out(labels, share, 5).tolist() == held.tolist()


def test_another_seed_holds_out_other_texts() -> None:
    labels = np.arange(100) % 3
    assert hold_out(labels, 0.2, 0).tolist() != hold_out(labels, 0.2, 1).tolist()


@pytest.mark.parametrize(("labels", "share"), [([0, 1] * 5, 0.01), ([0, 1, 0], 0.9), ([0, 1, 2], 0.3)])
def test_a_share_that_leaves_one_side_empty_is_refused(labels: list[int], share: float) -> None:
    with pytest.raises(UsageError, match="At least one must be held out, and one of each class be left"):
        hold_out(np.array(labels), share, 0)
