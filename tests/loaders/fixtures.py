"""The types of fixtures, and what tests do with samples and batches."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from amix.loaders.stream.batch import ArrayBatch, Batch

Rows = Iterable[Mapping[str, Any]]  # Any: of a corpus
WriteJsonl = Callable[[Path, Rows], Path]


def by_name(batch: Batch | ArrayBatch) -> dict[str, Any]:  # Any: tensors or arrays, and keys
    """A batch as a plain dict, for names that are in variables."""
    return dict(batch)


def assert_same(one: Mapping[str, object] | ArrayBatch, other: Mapping[str, object] | ArrayBatch) -> None:
    """Two samples or batches of arrays are equal, name by name."""
    assert one.keys() == other.keys()
    values: dict[str, Any] = dict(other)  # Any: arrays, keys and labels
    for name, value in one.items():
        np.testing.assert_array_equal(value, values[name])
