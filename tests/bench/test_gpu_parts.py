"""The parts of the scripts that measure on a GPU: what is written, what fits, what the figures are held against."""

import json
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import yaml
from gpu import results, table
from gpu.budget import MARGIN, Absent, Budget
from gpu.caches import CACHES, named, spelled_out
from gpu.evidence import GRIDS
from gpu.goals import GOALS
from gpu.grids import Comparison, heads_of
from gpu.journal import Fact, Figure, Journal, Piece, read
from gpu.places import Places
from gpu.scale import REAL
from measuring.speedtable import ALL, FIRST
from measuring.thinning import thinned

from amix.study.compare import outcome
from amix.study.compare.gridfile import grid_of


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def statuses(path: Path) -> dict[str, str]:
    return {each.name: each.status for each in read(path) if isinstance(each, Piece)}


def test_what_is_written_is_read_and_a_torn_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "engine.jsonl"
    with Journal(path) as journal:
        journal.fact("card", "none")
        journal.figure("rate", 2.5, "tokens/s", turn=1)
        assert len(path.read_text().splitlines()) == 2  # each is there before the next
        with pytest.raises(ValueError, match="JSON"):
            journal.figure("rate", float("nan"), "tokens/s")
    with path.open("a") as file:
        file.write('{"kind": "figure", "na')
    expected = [Fact(name="card", value="none"), Figure(name="rate", value=2.5, unit="tokens/s", turn=1)]
    assert read(path) == expected
    with Journal(path) as journal:
        journal.fact("card", "another")
    assert read(path) == [*expected, Fact(name="card", value="another")]


def test_a_measurement_begins_anew_and_keeps_the_last_one(tmp_path: Path) -> None:
    path = tmp_path / "engine.jsonl"
    for name in ("first", "second", "third"):
        with Journal(path, anew=True) as journal:
            journal.fact("card", name)
    assert [each.value for each in read(path) if isinstance(each, Fact)] == ["third"]
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "engine.1.jsonl",
        "engine.2.jsonl",
        "engine.jsonl",
    ]


def test_a_piece_that_does_not_fit_is_not_begun(tmp_path: Path) -> None:
    clock = Clock()
    begun = []

    def work(name: str, seconds: float) -> None:
        begun.append(name)
        clock.now += seconds

    with Journal(tmp_path / "journal.jsonl") as journal:
        budget = Budget(100, journal, clock)
        assert budget.piece("first", lambda: work("first", 50), needs=10, like="kind")
        # It took 50 seconds, so the next of its kind is not expected to fit in what is left.
        assert not budget.piece("second", lambda: work("second", 50), needs=10, like="kind")
        assert budget.piece("smaller", lambda: work("smaller", 20), needs=10, like="kind", size=0.4)
        assert budget.left == 30
        assert not budget.piece("other", lambda: work("other", 1), needs=31)
    assert begun == ["first", "smaller"]
    entries = {each.name: each for each in read(tmp_path / "journal.jsonl") if isinstance(each, Piece)}
    assert {name: each.status for name, each in entries.items()} == {
        "first": "done",
        "second": "skipped",
        "smaller": "done",
        "other": "skipped",
    }
    assert entries["second"].needs == pytest.approx(50 * MARGIN)
    assert entries["second"].left == 50


def test_what_a_piece_raises_is_written_down_and_the_next_one_runs(tmp_path: Path) -> None:
    def raising(problem: BaseException) -> None:
        raise problem

    with Journal(tmp_path / "journal.jsonl") as journal:
        budget = Budget(100, journal)
        budget.piece("failing", lambda: raising(RuntimeError("out of memory")), needs=1)
        budget.piece("child", lambda: raising(SystemExit("amix ended with 1")), needs=1)
        budget.piece("late", lambda: raising(subprocess.TimeoutExpired("amix", 3)), needs=1)
        budget.piece("lacking", lambda: raising(Absent("triton is not installed")), needs=1)
        budget.piece("next", lambda: None, needs=1)
    assert statuses(tmp_path / "journal.jsonl") == {
        "failing": "failed",
        "child": "failed",
        "late": "cut",
        "lacking": "absent",
        "next": "done",
    }
    assert budget.failed == 2
    failing = next(each for each in read(tmp_path / "journal.jsonl") if isinstance(each, Piece))
    assert failing.why.endswith("RuntimeError: out of memory")


def test_a_ratio_is_taken_within_a_turn_and_held_against_its_bound() -> None:
    goal = next(
        each for each in GOALS if each.says == "MiniLM, all heads, onnxruntime float16, over eager bfloat16"
    )
    assert goal.over is not None and goal.bound == 3

    def figures(*rates: tuple[int, float, float]) -> list[Figure]:
        assert goal.over is not None
        return [
            Figure(name=name, value=value, unit="tokens/s", turn=turn)
            for turn, ours, theirs in rates
            for name, value in ((goal.figure, ours), (goal.over, theirs))
        ]

    values = goal.values([*figures((0, 40, 10), (1, 90, 30)), *figures((2, 50, 10))[:1]])
    assert values == [4, 3]
    assert goal.verdict(values) == "met"
    assert goal.verdict([2.9]) == "missed"
    assert goal.verdict([]) == "not measured"
    most = next(each for each in GOALS if each.sign == "<=")
    assert (most.verdict([most.bound]), most.verdict([2 * most.bound])) == ("met", "missed")


def test_corpora_are_spelled_out_by_the_list_of_caches() -> None:
    corpora = spelled_out({"questions": "caches/trec/", "reviews": {"train": "caches/mr/train"}})
    assert corpora["questions"] == {
        "train": "caches/trec/train",
        "dev": "caches/trec/validation",
        "eval": {"test": "caches/trec/test"},
    }
    assert [cache.name for cache in named(corpora)] == [
        "trec/train",
        "trec/validation",
        "trec/test",
        "mr/train",
    ]
    with pytest.raises(ValueError, match=r"caches/no: no such cache. List it in bench/gpu/caches.py"):
        named({"other": {"train": "caches/no"}})
    assert len({cache.name for cache in CACHES}) == len(CACHES)


def test_classes_are_made_rarer_and_the_rest_is_left_as_it_is() -> None:
    lines = [json.dumps({"text": f"question {row}", "label": row % 3}) + "\n" for row in range(60)]
    few = thinned(lines, {"1": 0.25, "2": 0.5})
    assert few == [line for line in lines if line in few]
    assert Counter(json.loads(line)["label"] for line in few) == {0: 20, 1: 5, 2: 10}
    assert thinned(lines, {"2": 0.5, "1": 0.25}) == few != thinned(lines, {"1": 0.25, "2": 0.5}, seed=1)
    assert thinned(lines, {}) == lines
    for shares in ({"3": 0.5}, {"1": 1.5}):
        with pytest.raises(ValueError, match="name a class that occurs, and a share from 0 to 1"):
            thinned(lines, shares)


def test_every_grid_of_the_evidence_names_caches_that_are_listed() -> None:
    paths = sorted(GRIDS.glob("*.yaml"))
    assert paths
    for path in paths:
        assert named(spelled_out(yaml.safe_load(path.read_text("utf-8"))["corpora"])), path


def test_finished_runs_are_known_by_the_file_that_a_comparison_writes() -> None:
    assert results.RESULT == outcome.RESULT


@pytest.mark.parametrize(
    ("methods", "heads"),
    [
        ({"none": None, "wordmixup": None}, FIRST),
        ({"attentionmix a": {"head": "0.8"}, "attentionmix b": {"head": "0.mean|0.1,0.3"}}, FIRST),
        ({"attentionmix a": {"head": "0.8"}, "attentionmix b": {"head": "0.1|1.mean"}}, ALL),
        ({"attentionmix": {"head": "mean"}}, ALL),
        ({"attentionmix": {"head": "auto"}}, ALL),
        ({"attentionmix": {"head": "3.mean", "relevance_source": "online"}}, FIRST),
        ({"ssmix": {"head": "3.mean"}}, FIRST),
    ],
)
def test_layer_0_is_enough_for_runs_that_name_heads_of_it(
    methods: dict[str, dict[str, str] | None], heads: str
) -> None:
    document = table.grid(REAL, {"mr": 1}, methods)
    assert heads_of(grid_of(dict(document.items()), Path("grid.yaml")).cells()) == heads


def test_a_comparison_that_fails_gets_no_other_seed_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places(gpu=tmp_path, work=tmp_path / "work", out=tmp_path / "out", before=tmp_path / "before")
    ran = []

    def compare(self: Comparison, turns: int) -> None:
        ran.append((self.name, turns))
        if self.name == "first":
            raise RuntimeError("out of memory")

    monkeypatch.setattr(Comparison, "_compare", compare)
    monkeypatch.setattr(Comparison, "_make_caches", lambda self: True)
    with Journal(tmp_path / "out" / "table.jsonl") as journal:
        budget = Budget(1e6, journal)
        document = table.grid(REAL, {"mr": 1}, {"none": None})
        both = [
            Comparison(name, document, "table", places, REAL, budget, jobs=1, guess=1.0)
            for name in ("first", "second")
        ]
        table.seed_by_seed(both, 2)
    assert ran == [("first", 1), ("second", 1), ("second", 2)]
    assert statuses(tmp_path / "out" / "table.jsonl") == {
        "first, 1 of 10 seeds": "failed",
        "second, 1 of 10 seeds": "done",
        "second, 2 of 10 seeds": "done",
    }
