"""Runs on a real cluster of two nodes: whatever dies, the bytes are those of a local run."""

import os
import random
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import ray

from amix.engine.base.errors import ShardError
from amix.loaders.precompute.progress import Start, UnitSummary
from amix.loaders.precompute.run import PrecomputeOptions, precompute
from amix.loaders.precompute.scheduler.ray.dispatch import NAMESPACE
from amix.loaders.precompute.scheduler.ray.scheduler import RayScheduler
from tests.conftest import write_jsonl
from tests.loaders.conftest import contents
from tests.loaders.flaky import FlakyStore, now_and_then
from tests.loaders.precompute.runs import assert_whole_so_far, command, records, wait_until
from tests.loaders.precompute.scheduler.conftest import Nodes
from tests.loaders.s3 import BUCKET, files, objects, s3_options
from tests.processes import started
from tests.shared import SharedFolders

UNITS, SIZE = 40, 150


@pytest.fixture(scope="module")
def corpus(shared: SharedFolders, review_rows: list[dict[str, Any]]) -> Path:
    """Forty units, one row of which is rejected."""
    rows = [review_rows[number % 60] for number in range(UNITS * SIZE - 7)]
    rows[321] = {"text": None, "label": 0}
    return shared.make("ray-corpus", lambda folder: write_jsonl(folder / "train.jsonl", rows)) / "train.jsonl"


@pytest.fixture(scope="module")
def want(corpus: Path, tiny_extractor: Path, shared: SharedFolders) -> dict[str, bytes]:
    """What a local run writes."""
    options = PrecomputeOptions(samples_per_shard=SIZE, workers=1)

    def build(folder: Path) -> None:
        precompute(str(corpus), folder / "train", extractor=tiny_extractor, options=options)

    return contents(shared.make("ray-local", build) / "train")


@pytest.fixture
def options(nodes: Nodes) -> PrecomputeOptions:
    return PrecomputeOptions(samples_per_shard=SIZE, scheduler="ray", address=nodes.address)


def workers() -> list[Any]:
    """The actors that are there, as handles."""
    return [
        ray.get_actor(each["name"], NAMESPACE)
        for each in ray.util.list_named_actors(all_namespaces=True)
        if each["namespace"] == NAMESPACE
    ]


def test_a_node_and_a_worker_that_die_in_the_middle_change_no_byte(
    nodes: Nodes,
    corpus: Path,
    want: dict[str, bytes],
    tiny_extractor: Path,
    options: PrecomputeOptions,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    done: list[int] = []
    began: list[Start] = []
    node_dies, worker_dies = UNITS // 3, random.randrange(UNITS // 2, UNITS - 5)

    def strike(summary: UnitSummary) -> None:
        done.append(summary.unit)
        if len(done) == 2:
            heavy = [each.__ray_call__.remote(lambda self: "torch" in sys.modules) for each in workers()]
            assert not any(ray.get(heavy))
        if len(done) == node_dies:
            nodes.kill_second()
        if len(done) == worker_dies:
            ray.kill(random.choice(workers()), no_restart=False)

    out = tmp_path / "out"
    try:
        precompute(
            str(corpus), out, extractor=tiny_extractor, options=options, on_start=began.append, on_unit=strike
        )
    finally:
        nodes.revive_second()
    assert contents(out) == want, worker_dies
    assert sorted(done) == list(range(UNITS))
    assert [(start.workers, start.threads, start.row_count) for start in began] == [(2, 1, UNITS * SIZE - 7)]
    assert "died with unit" in caplog.text
    assert not ray.is_initialized()


def test_between_stores_that_fail_now_and_then_a_cluster_that_loses_a_node_loses_no_byte(
    nodes: Nodes,
    corpus: Path,
    want: dict[str, bytes],
    tiny_extractor: Path,
    options: PrecomputeOptions,
    s3: str,
) -> None:
    files(s3).put_file(str(corpus), f"{BUCKET}/ray-texts/{corpus.name}")
    done: list[int] = []

    def strike(summary: UnitSummary) -> None:
        done.append(summary.unit)
        if len(done) == UNITS // 3:
            nodes.kill_second()

    try:
        with FlakyStore(s3, now_and_then()) as store:
            precompute(
                f"s3://{BUCKET}/ray-texts/{corpus.name}",
                f"s3://{BUCKET}/ray-shards",
                extractor=tiny_extractor,
                options=options,
                on_unit=strike,
                storage_options=s3_options(store.url),
            )
    finally:
        nodes.revive_second()
    assert objects(s3, "ray-shards") == want
    assert sorted(done) == list(range(UNITS))


def test_a_run_whose_driver_was_killed_goes_on(
    nodes: Nodes,
    corpus: Path,
    want: dict[str, bytes],
    tiny_extractor: Path,
    options: PrecomputeOptions,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    start = command(corpus, out, tiny_extractor, options, "--scheduler", "ray", "--address", nodes.address)
    with started(start) as process:
        wait_until(lambda: len(records(out)) > 3 or process.poll() is not None)
        process.kill()
        _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors
    assert_whole_so_far(out, want)
    before = records(out)
    units: list[int] = []
    precompute(
        str(corpus),
        out,
        extractor=tiny_extractor,
        options=options,
        on_unit=lambda summary: units.append(summary.unit),
    )
    assert contents(out) == want
    assert len(units) <= UNITS - len(before)


def test_a_unit_that_fails_everywhere_stops_the_run_with_its_rows(
    corpus: Path, want: dict[str, bytes], tiny_extractor: Path, options: PrecomputeOptions, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def obstruct(start: Start) -> None:
        (out / "shard-00000003.tar").mkdir()  # where a file is to be
        with pytest.raises(ShardError, match="another process is writing shards there"):
            precompute(str(corpus), out, extractor=tiny_extractor, options=options)

    problem = r"unit 3 \(rows 450 to 599\) failed .* It was tried 3 times"
    with pytest.raises(ShardError, match=problem) as caught:
        precompute(str(corpus), out, extractor=tiny_extractor, options=options, on_start=obstruct)
    assert "Traceback" in "".join(caught.value.__notes__)
    assert records(out)  # of other units
    (out / "shard-00000003.tar").rmdir()
    precompute(str(corpus), out, extractor=tiny_extractor, options=options)
    assert contents(out) == want


def test_what_a_node_does_not_see_is_said_with_its_name(
    corpus: Path, tiny_extractor: Path, options: PrecomputeOptions, tmp_path: Path
) -> None:
    own = Path(shutil.copy(corpus, tmp_path / "own.jsonl"))

    def change(start: Start) -> None:
        own.write_bytes(own.read_bytes() + b"\n")

    with pytest.raises(
        Exception, match=r"own\.jsonl: has .* bytes, and had .* This was found by precompute out"
    ):
        precompute(str(own), tmp_path / "out", extractor=tiny_extractor, options=options, on_start=change)


def test_a_node_that_computes_with_something_else_is_refused(
    corpus: Path,
    tiny_extractor: Path,
    options: PrecomputeOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = RayScheduler.environment

    def of_another_node(scheduler: RayScheduler) -> dict[str, str]:
        return {**found(scheduler), "instructions": "x86_64 none"}

    monkeypatch.setattr(RayScheduler, "environment", of_another_node)
    with pytest.raises(
        ShardError, match=r"node .*: environment\.instructions is .* it is x86_64 none, so its bytes"
    ):
        precompute(str(corpus), tmp_path / "out", extractor=tiny_extractor, options=options)
    assert not records(tmp_path / "out")


def test_a_signal_ends_a_run_and_its_workers(
    nodes: Nodes,
    corpus: Path,
    want: dict[str, bytes],
    tiny_extractor: Path,
    options: PrecomputeOptions,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    start = command(corpus, out, tiny_extractor, options, "--scheduler", "ray", "--address", nodes.address)
    with started(start, start_new_session=True) as process:
        wait_until(lambda: records(out) or process.poll() is not None)
        os.kill(process.pid, signal.SIGTERM)
        _, errors = process.communicate()
    assert process.returncode == 143, errors
    assert "same command again" in errors
    assert "Traceback" not in errors, errors
    assert_whole_so_far(out, want)
