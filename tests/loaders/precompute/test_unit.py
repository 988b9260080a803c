"""A worker's pipeline: the next unit is asked for in time, errors belong to their unit, nothing is left running."""

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self, cast

import pytest

from amix.engine.extractor.folder import open_extractor
from amix.loaders.corpus import Row
from amix.loaders.precompute.unit import Unit, UnitBuilder, UnitSettings
from amix.loaders.shards.layout import Layout, shard_name
from amix.loaders.shards.recipe import Recipe


class Handed:
    """Units that are handed over one at a time, each when it has been asked for."""

    def __init__(self, units: Iterable[Unit]) -> None:
        self._units = list(units)
        self._asked = threading.Semaphore(1)
        self.asks = 0
        self.drawn: list[int] = []
        self._closed = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Unit:
        while not self._asked.acquire(timeout=0.01):
            if self._closed:
                raise StopIteration
        if not self._units:
            raise StopIteration
        unit = self._units.pop(0)
        self.drawn.append(unit[0])
        return unit

    def ask(self) -> None:
        self.asks += 1
        self._asked.release()

    def close(self) -> None:
        self._closed = True


@pytest.fixture
def settings(tiny_extractor: Path, tmp_path: Path) -> UnitSettings:
    extractor = open_extractor(tiny_extractor)
    heads = len(extractor.heads)
    layout = Layout(
        heads=heads, dtype="float16", wide_ids=False, token_types=False, classes=0, cls=False, text=False
    )
    return UnitSettings(
        out=tmp_path,
        extractor=tiny_extractor,
        device="cpu",
        backend="onnxruntime",
        threads=1,
        head_indices=tuple(range(heads)),
        max_length=16,
        layout=layout,
        recipe=Recipe({}),
    )


def unit(number: int, texts: Sequence[str]) -> Unit:
    return number, [Row(number=4 * number + place, text=text) for place, text in enumerate(texts)]


def test_every_unit_is_asked_for_once_and_published_in_turn(settings: UnitSettings, tmp_path: Path) -> None:
    units = Handed([unit(0, ["a film", "b"]), unit(1, ["c"]), unit(2, ["d e f", "g", "h"])])
    summaries = list(UnitBuilder(settings).build(units, units.ask))
    assert [summary.unit for summary in summaries] == units.drawn == [0, 1, 2]
    assert [summary.samples for summary in summaries] == [2, 1, 3]
    assert units.asks == 3
    assert all((tmp_path / f"{shard_name(number)}.json").is_file() for number in range(3))


def test_a_unit_of_rejects_alone_asks_for_the_next(settings: UnitSettings) -> None:
    rejected = 0, [Row(number=0, text=None, reject="no text")]
    units = Handed([rejected, unit(1, ["a"])])
    first, second = UnitBuilder(settings).build(units, units.ask)
    assert (first.samples, first.rejects, second.samples) == (0, ((0, "no text"),), 1)


def test_an_error_belongs_to_its_unit_and_loses_none_before_it(
    settings: UnitSettings, tmp_path: Path
) -> None:
    before = set(threading.enumerate())
    broken = 1, [Row(number=4, text=cast(Any, 7))]  # the tokenizer takes strings
    units = Handed([unit(0, ["a film"]), broken, unit(2, ["c"])])
    seen = []
    with pytest.raises(TypeError):
        for summary in UnitBuilder(settings).build(units, units.ask):
            seen.append(summary.unit)
    assert seen == [0]
    assert (tmp_path / f"{shard_name(0)}.json").is_file()
    assert set(threading.enumerate()) <= before


def test_leaving_early_ends_the_threads(settings: UnitSettings) -> None:
    before = set(threading.enumerate())
    units = Handed(unit(number, ["a film"] * 4) for number in range(40))
    summaries = UnitBuilder(settings).build(units, units.ask)
    next(summaries)
    summaries.close()
    assert set(threading.enumerate()) <= before
    assert len(units.drawn) < 40  # more of them than fit between the stages
