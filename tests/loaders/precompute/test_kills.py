"""Runs that a kill or a signal ends at any moment: no byte is changed, and the same command goes on."""

import functools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from amix.loaders.precompute.run import PrecomputeOptions, precompute
from tests.conftest import write_jsonl
from tests.loaders.conftest import contents
from tests.loaders.precompute.runs import (
    PATIENCE,
    assert_whole_so_far,
    command,
    is_running,
    needs_proc,
    records,
    wait_for_the_end_of,
    wait_until,
    workers_of,
)
from tests.processes import started
from tests.shared import SharedFolders

TINY = PrecomputeOptions(samples_per_shard=2, workers=1)
KILLS = 50
DEADLY = Path(__file__).with_name("deadly.py")

pytestmark = needs_proc


@pytest.fixture(scope="module")
def long_corpus(shared: SharedFolders, review_rows: list[dict[str, Any]]) -> Path:
    """Three hundred texts: 150 units of two."""
    rows = [{**row, "text": f"{row['text']} {turn}"} for turn in range(5) for row in review_rows]
    return shared.make("long", lambda folder: write_jsonl(folder / "long.jsonl", rows)) / "long.jsonl"


@pytest.fixture(scope="module")
def undisturbed(shared: SharedFolders, long_corpus: Path, tiny_extractor: Path) -> dict[str, bytes]:
    """What a run over `long_corpus` that nobody disturbs publishes: name -> bytes."""

    def build(folder: Path) -> None:
        precompute(str(long_corpus), folder, extractor=tiny_extractor, options=TINY)

    return contents(shared.make("long-shards", build))


@pytest.fixture(scope="module")
def short_corpus(shared: SharedFolders, review_rows: list[dict[str, Any]]) -> Path:
    """Eight texts: four units of two."""
    return (
        shared.make("short", lambda folder: write_jsonl(folder / "rows.jsonl", review_rows[:8]))
        / "rows.jsonl"
    )


@pytest.fixture(scope="module")
def short_shards(shared: SharedFolders, short_corpus: Path, tiny_extractor: Path) -> Path:
    """What a run over `short_corpus` publishes."""

    def build(folder: Path) -> None:
        precompute(str(short_corpus), folder, extractor=tiny_extractor, options=TINY)

    return shared.make("short-shards", build)


# Which process makes which call for the how manieth time, and who is killed then; and how many units of four have a
# record after it, where that is certain: one had it before. Those that are not in OFTEN are marked `exhaustive`.
MOMENTS: dict[str, tuple[str, int | None]] = {
    "parent, before its worker starts": ("parent start 1 self", 1),
    "parent, with nothing sent": ("parent sends 1 self", 1),
    "parent, asked for another unit": ("parent received:ask 1 self", None),
    "parent, told of a unit": ("parent received:done 1 self", None),
    "parent, told of the last": ("parent received:done 3 self", 4),
    "parent, before the first file of the end is on the disk": ("parent fsync 1 self", 4),
    "parent, before the card has its name": ("parent replace 2 self", 4),
    "parent, before the manifest has its name": ("parent replace 3 self", 4),
    "parent, when the manifest has its name": ("parent fsync 6 self", 4),
    **{
        f"{victim}, while the worker {doing}": (
            f"worker {event} {'self' if victim == 'worker' else 'parent'}",
            count,
        )
        for victim in ("worker", "parent")
        for doing, (event, count) in {
            "waits for its first unit": ("waits 1", 1),
            "waits for another": ("waits 2", None),
            "has a unit in hand": ("received 1", 1),
            "computes": ("computes 1", 1),
            "computes its last": ("computes 3", None),
            "asks for another": ("sends:ask 1", 1),
            "flushes a tar": ("fsync 1", 1),
            "has named a tar": ("fsync 2", 1),
            "has named all but the record": ("replace 4", 1),
            "has named a record": ("fsync 6", 2),
            "has published a unit and not said so": ("sends:done 1", 2),
        }.items()
    },
}
OFTEN = (
    "parent, before its worker starts",
    "parent, told of a unit",
    "parent, before the manifest has its name",
    "parent, when the manifest has its name",
    "worker, while the worker waits for another",
    "worker, while the worker computes",
    "worker, while the worker has named all but the record",
    "worker, while the worker has published a unit and not said so",
    "parent, while the worker computes",
    "parent, while the worker flushes a tar",
)


@pytest.mark.parametrize(
    "moment", [pytest.param(each, marks=[] if each in OFTEN else pytest.mark.exhaustive) for each in MOMENTS]
)
def test_a_kill_at_a_chosen_moment_changes_no_byte(
    moment: str, short_corpus: Path, short_shards: Path, tiny_extractor: Path, tmp_path: Path
) -> None:
    out, struck, want = tmp_path / "out", tmp_path / "struck", contents(short_shards)
    where, finished = MOMENTS[moment]
    out.mkdir()
    for path in short_shards.glob("shard-00000000.*"):
        shutil.copy(path, out)
    arguments = command(short_corpus, out, tiny_extractor, TINY, "--workers", "1")[3:]
    environment = {**os.environ, "WHERE": where, "STRUCK": str(struck)}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))
    with started([sys.executable, str(DEADLY), *arguments], env=environment) as process:
        wait_until(lambda: workers_of(process.pid) or process.poll() is not None)
        workers = workers_of(process.pid)
        _, errors = process.communicate(timeout=PATIENCE)
    assert struck.exists(), errors
    if moment.startswith("parent"):
        assert process.returncode == -signal.SIGKILL, errors
        wait_for_the_end_of(workers)
    else:
        assert process.returncode == 1, errors
        assert "died with exit code -9" in errors
        assert "run the same command again" in errors
        assert not list(out.glob(".*"))
    assert finished in (None, len(records(out)))
    assert_whole_so_far(out, want)
    precompute(str(short_corpus), out, extractor=tiny_extractor, options=TINY)
    assert contents(out) == want


def stumble(
    start: Sequence[str], out: Path, want: Mapping[str, bytes], chance: random.Random, kills: int
) -> int:
    """Give `start` again and again, killing a worker and the parent in turn, and finish it at the end."""

    def has_moved(process: "subprocess.Popen[str]", before: set[str]) -> bool:
        return records(out) != before or process.poll() is not None

    done = 0
    while done < kills:
        before = records(out)
        with started(start) as process:
            if chance.random() < 0.2:  # anywhere from the very start
                time.sleep(chance.uniform(0, 1))
            else:  # while units are written, or the manifest
                wait_until(functools.partial(has_moved, process, before))
                time.sleep(chance.uniform(0, 0.1))
            workers = workers_of(process.pid)
            victim = chance.choice(workers) if done % 2 and workers else process.pid
            if process.poll() is None:
                os.kill(victim, signal.SIGKILL)
            _, errors = process.communicate(timeout=PATIENCE)
        if process.returncode == 0:  # it was over before
            assert contents(out) == want
            shutil.rmtree(out)
            continue
        if victim == process.pid:
            assert process.returncode == -signal.SIGKILL, errors
        else:
            assert process.returncode == 1, errors
            assert "died with exit code -9" in errors
            assert "run the same command again" in errors
            assert not list(out.glob(".*"))
        done += 1
        wait_for_the_end_of(workers)
        if out.exists():
            assert_whole_so_far(out, want)
    subprocess.run(start, check=True, capture_output=True)
    assert contents(out) == want
    return done


@pytest.mark.exhaustive
def test_fifty_kills_of_workers_and_parents_change_no_byte(
    long_corpus: Path, undisturbed: dict[str, bytes], tiny_extractor: Path, tmp_path: Path
) -> None:
    def lane(workers: int) -> int:
        out = tmp_path / f"out-{workers}"
        start = command(long_corpus, out, tiny_extractor, TINY, "--workers", workers)
        return stumble(start, out, undisturbed, random.Random(workers), KILLS // 2)

    with ThreadPoolExecutor(2) as lanes:
        assert sum(lanes.map(lane, (1, 2))) == KILLS


@pytest.mark.parametrize(
    ("number", "code", "whom", "moment"),
    [
        (signal.SIGTERM, 143, "parent", "start"),
        (signal.SIGTERM, 143, "parent", "units"),
        (signal.SIGTERM, 143, "group", "units"),
        (signal.SIGHUP, 129, "parent", "units"),
        (signal.SIGHUP, 129, "group", "units"),
        (signal.SIGINT, 130, "group", "start"),
        (signal.SIGINT, 130, "group", "units"),
    ],
)
def test_a_signal_ends_the_run_cleanly(
    long_corpus: Path,
    undisturbed: dict[str, bytes],
    tiny_extractor: Path,
    tmp_path: Path,
    number: signal.Signals,
    code: int,
    whom: str,
    moment: str,
) -> None:
    out = tmp_path / "out"
    start = command(long_corpus, out, tiny_extractor, TINY, "--workers", "2")
    with started(start, start_new_session=True) as process:
        wait_until(lambda: records(out) if moment == "units" else workers_of(process.pid))
        workers = workers_of(process.pid)
        (os.killpg if whom == "group" else os.kill)(process.pid, number)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, errors
    assert "same command again" in errors
    assert "Traceback" not in errors, errors
    assert not any(map(is_running, workers))
    assert not list(out.glob(".*"))
    assert_whole_so_far(out, undisturbed)


def test_nohup_is_honoured(
    long_corpus: Path, undisturbed: dict[str, bytes], tiny_extractor: Path, tmp_path: Path
) -> None:
    def nohup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    out = tmp_path / "out"
    start = command(long_corpus, out, tiny_extractor, TINY, "--workers", "2")
    with started(start, preexec_fn=nohup, start_new_session=True) as process:
        wait_until(lambda: records(out))
        os.killpg(process.pid, signal.SIGHUP)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert contents(out) == undisturbed
