"""A worker's pipeline: the next unit is asked for in time, errors belong to their unit, nothing is left running."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

import pytest

from amix.engine.extractor.devicememory import TorchMemory
from amix.engine.extractor.folder import open_extractor
from amix.engine.extractor.onnxsession import BoundRunner, session_options
from amix.engine.extractor.session import Session
from amix.loaders.corpus import Row
from amix.loaders.precompute import unit as unit_module
from amix.loaders.precompute.batching import Budget
from amix.loaders.precompute.scheduler.worker import tokenizer_environment
from amix.loaders.precompute.unit import Unit, UnitBuilder, UnitSettings
from amix.loaders.shards.layout import Layout, shard_name
from amix.loaders.shards.recipe import Recipe
from tests.loaders.precompute.runs import needs_proc

ROOT = Path(__file__).parents[3]


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
        special_ids=extractor.special_ids,
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


@pytest.fixture
def pipelined(settings: UnitSettings, monkeypatch: pytest.MonkeyPatch) -> UnitSettings:
    """Settings of a worker whose session is a pipeline, as on a GPU, and which takes that for one."""
    import onnxruntime

    extractor = open_extractor(settings.extractor)

    def opened(*_: object, **__: object) -> Session:
        runtime = onnxruntime.InferenceSession(
            settings.extractor / "model.onnx", session_options(1), ["CPUExecutionProvider"]
        )
        runner = BoundRunner(runtime, len(extractor.heads), "cpu", memory=TorchMemory("cpu", 0))
        return Session(extractor, "onnxruntime", "cuda:0", runner, threads=1)

    monkeypatch.setattr(unit_module, "open_session", opened)
    return replace(settings, device="cuda:0", budget=Budget(tokens=64, scores=2**10))


def some_units() -> list[Unit]:
    return [
        unit(0, ["a film", "b", "a film that is long", "c"]),
        unit(1, ["c"]),
        unit(2, ["d e f", "g", "h"]),
    ]


def test_a_pipeline_publishes_the_same_shards(
    settings: UnitSettings, pipelined: UnitSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, given in (("pipelined", pipelined), ("plain", replace(settings, budget=pipelined.budget))):
        (tmp_path / name).mkdir()
        units = Handed(some_units())
        summaries = list(UnitBuilder(replace(given, out=tmp_path / name)).build(units, units.ask))
        assert [(summary.unit, summary.samples) for summary in summaries] == [(0, 4), (1, 1), (2, 3)]
        assert all(summary.computed_tokens >= summary.tokens for summary in summaries)
        assert all(summary.stages["session"] > 0 for summary in summaries)
        monkeypatch.undo()  # only the first is to be a pipeline
    names = sorted(path.name for path in (tmp_path / "plain").iterdir())
    assert len(names) == 12
    for name in names:
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "pipelined" / name).read_bytes()


class Waiting(Handed):
    """Units after which none come, as from a parent that first wants to hear of the last."""

    def __next__(self) -> Unit:
        while not self._units and not self._closed:
            time.sleep(0.01)
        return super().__next__()


@pytest.mark.parametrize("kind", ["settings", "pipelined"])
def test_a_unit_is_published_though_no_other_comes(kind: str, request: pytest.FixtureRequest) -> None:
    given: UnitSettings = request.getfixturevalue(kind)
    units = Waiting([*some_units(), (3, [Row(number=12, text=None, reject="no text")])])
    summaries = UnitBuilder(given).build(units, units.ask)
    assert [next(summaries).unit for _ in range(4)] == [0, 1, 2, 3]
    summaries.close()


def test_leaving_a_pipeline_early_ends_its_threads(pipelined: UnitSettings) -> None:
    before = set(threading.enumerate())
    for taken in (1, 2):
        units = Handed(unit(number, ["a film"] * 4) for number in range(40))
        summaries = UnitBuilder(pipelined).build(units, units.ask)
        for _ in range(taken):
            next(summaries)
        summaries.close()
        assert set(threading.enumerate()) <= before


def test_the_next_unit_is_asked_for_at_once_where_a_gpu_would_wait_for_it(
    settings: UnitSettings, pipelined: UnitSettings
) -> None:
    texts = ["film " * count for count in range(1, 13)]
    place = {}
    for name, given in (("cpu", settings), ("cuda", pipelined)):
        builder = UnitBuilder(replace(given, budget=Budget(tokens=16, scores=256)))
        events: list[str] = []
        prepared = builder._prepare(unit(0, texts))
        for _, batch in builder._batches(iter([prepared]), partial(events.append, "ask")):
            if batch is not None:
                events.append("batch")
        assert events.count("ask") == 1
        place[name] = events.index("ask") / (len(events) - 1)
    assert place["cuda"] == 0.0
    assert place["cpu"] > 0.8


@needs_proc
def test_the_tokenizer_of_a_gpu_has_the_cores_of_its_worker(settings: UnitSettings) -> None:
    code = (
        "import sys, os; from pathlib import Path\n"
        "from amix.loaders.corpus import Row\n"
        "from amix.loaders.precompute.tokenize import TextEncoder\n"
        "rows = [Row(number=n, text='a film ' * 50) for n in range(512)]\n"
        "TextEncoder(Path(sys.argv[1]), 64).encode(rows)\n"
        "print(len(os.listdir('/proc/self/task')))"
    )

    def threads(device: str, cores: int) -> int:
        done = subprocess.run(
            [sys.executable, "-c", code, str(settings.extractor / "tokenizer.json")],
            env={**os.environ, "PYTHONPATH": str(ROOT), **tokenizer_environment(device, cores)},
            capture_output=True,
            text=True,
            check=True,
        )
        return int(done.stdout)

    alone = threads("cpu", 1)
    assert threads("cuda:0", 1) == alone
    assert threads("cuda:0", 3) - alone == 3
