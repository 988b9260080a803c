"""Runs that a full disk, a signal or a kill ends early: nothing is damaged, and the same command goes on."""

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from amix.engine.base.errors import ShardError, StorageError
from amix.engine.base.publish import atomic_writer
from amix.loaders.precompute.run import PrecomputeOptions, precompute
from amix.loaders.shards.finish import publish_manifest
from amix.loaders.shards.manifest import Manifest
from tests.loaders.conftest import contents
from tests.loaders.precompute.runs import (
    assert_whole_so_far,
    command,
    is_running,
    needs_proc,
    records,
    wait_until,
    workers_of,
)
from tests.processes import started

OPTIONS = PrecomputeOptions(samples_per_shard=16, workers=1)


@needs_proc
def test_a_worker_ends_with_its_parent_even_in_a_call_that_stops_the_interpreter(
    tiny_extractor: Path, tmp_path: Path
) -> None:
    # Its unit makes a file, and is then a search that takes ages and lets no other thread of the worker run.
    code = """if True:
        import sys
        from pathlib import Path
        from amix.loaders.shards.layout import Layout
        from amix.loaders.shards.recipe import Recipe
        from amix.loaders.precompute.unit import UnitSettings
        from amix.loaders.precompute.scheduler.pool import WorkerPool

        class Endless:
            def __reduce__(self):
                search = f"open({sys.argv[2]!r}, 'w').close(); import re; re.match('(a|aa)+$', 'a' * 60 + 'b')"
                return exec, (search,)

        settings = UnitSettings(
            out=Path(), extractor=Path(sys.argv[1]), device="cpu", backend="onnxruntime", threads=1,
            head_indices=(), max_length=8, special_ids=(), recipe=Recipe({}), layout=Layout(
                heads=1, dtype="float16", wide_ids=False, token_types=False, classes=0, cls=True, text=False
            ),
        )
        with WorkerPool(settings, 1) as pool:
            list(pool.map(iter([(0, Endless())])))
    """

    searching = tmp_path / "searching"
    with started([sys.executable, "-c", code, str(tiny_extractor), str(searching)]) as process:
        wait_until(lambda: workers_of(process.pid) or process.poll() is not None)
        (worker,) = workers_of(process.pid)
        wait_until(searching.exists)
    try:
        wait_until(lambda: not is_running(worker))
    finally:
        if is_running(worker):
            os.kill(worker, signal.SIGKILL)


def test_a_second_run_is_refused_until_the_manifest_makes_the_cache_whole(
    corpus: Path, tiny_extractor: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    refused: list[list[str]] = []
    whole: list[str] = []

    def intrude(*_: object) -> None:
        with pytest.raises(ShardError, match=r"another process is writing shards there\. Wait for it"):
            precompute(str(corpus), out, extractor=tiny_extractor, options=OPTIONS)
        refused.append(sorted(path.name for path in out.glob("*.json")))

    def publish(*arguments: Any, **named: Any) -> Manifest:  # Any: whatever it is called with
        intrude()
        published = publish_manifest(*arguments, **named)
        whole.append(precompute(str(corpus), out, extractor=tiny_extractor, options=OPTIONS).sha256)
        return published

    monkeypatch.setattr("amix.loaders.precompute.run.publish_manifest", publish)
    manifest = precompute(str(corpus), out, extractor=tiny_extractor, options=OPTIONS, on_unit=intrude)
    assert len(refused) == 5
    assert whole == [manifest.sha256]
    assert contents(out) == contents(shards)


# Publishes a unit, then a manifest, each killed before every single step of it; what stands is compared each time.
STEPS = """
import itertools, os, shutil, signal, sys
from pathlib import Path

import numpy as np

from amix.engine.extractor.folder import open_extractor
from amix.loaders.shards.layout import Layout
from amix.loaders.precompute.recipe import tokenizer_of
from amix.loaders.shards.finish import publish_manifest
from amix.loaders.shards.manifest import Manifest
from amix.loaders.shards.manifest import Manifest
from amix.loaders.shards.recipe import Recipe
from amix.loaders.shards.records import ShardFacts, ShardRecord
from amix.loaders.shards.writer import Sample, ShardWriter
from amix.loaders.shards.workspace import Workspace

def killed_before(step, work):
    child = os.fork()
    if child == 0:
        steps = itertools.count()

        def deadly(call):
            def perform(*arguments):
                if next(steps) == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*arguments)
            return perform

        os.fsync, os.replace = deadly(os.fsync), deadly(os.replace)
        work()
        os._exit(0)
    return os.waitpid(child, 0)[1] != 0

def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}

def count_deaths(prepare, work, want, is_done):
    for step in itertools.count():
        shutil.rmtree(out, ignore_errors=True)
        prepare()
        killed = killed_before(step, work)
        with Workspace(out) as workspace:
            done = is_done(workspace)
            assert all(want[name] == data for name, data in contents(out).items()), step
            if done:
                assert contents(out) == want, step
            work()
            assert contents(out) == want, step
        if not killed:
            assert done
            return step

shards, extractor, out = map(Path, sys.argv[1:])
layout = Layout(heads=1, dtype="float16", wide_ids=False, token_types=False, classes=0, cls=True, text=False)
samples = [Sample(row=row, ids=np.arange(row + 3), label=0) for row in range(4)]

def unit():
    relevance = ((row, np.ones((1, row + 3), np.float32)) for row in range(4))
    ShardWriter(out, 0, layout).publish(samples, relevance, ShardFacts(row_range=(0, 4), recipe=Recipe({})))

out.mkdir()
unit()
unit_deaths = count_deaths(out.mkdir, unit, contents(out), lambda workspace: 0 in workspace.records(Recipe({})))

records = [ShardRecord.read(path) for path in sorted(shards.glob("shard-*.json"))]
recipe, tokenizer = records[0].recipe, tokenizer_of(open_extractor(extractor))
rest = {"tokenizer": tokenizer, "files": Manifest.read(shards).files}

def without_manifest():
    shutil.copytree(shards, out, ignore=shutil.ignore_patterns("manifest.json", "tokenizer.json", "README.md"))

manifest_deaths = count_deaths(
    without_manifest,
    lambda: publish_manifest(out, records, recipe, relevance="received", **rest),
    contents(shards),
    lambda workspace: workspace.finished(recipe) is not None,
)
print(unit_deaths, manifest_deaths)
"""


def test_a_kill_before_any_step_of_publishing_leaves_a_unit_or_a_cache_whole_or_absent(
    shards: Path, tiny_extractor: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STEPS, shards, tiny_extractor, tmp_path / "out"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    # A unit: four files, each flushed and renamed, and the folder twice. The end: three files, the folder after each.
    assert done.stdout.split() == ["10", "9"]


# What a process does to files, in the order in which it does it. Workers are spawned from the same script.
WITNESS = """
import os

log = os.open(os.environ["WITNESS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
fsync, replace = os.fsync, os.replace

def note(*words):
    os.write(log, ("\\t".join(map(str, words)) + "\\n").encode())

def noted_fsync(descriptor):
    fsync(descriptor)
    state = os.fstat(descriptor)
    note("fsync", os.readlink(f"/proc/self/fd/{descriptor}"), f"{state.st_size} {state.st_mtime_ns}")

def noted_replace(source, target):
    state = os.stat(source)
    note("replace", source, target, f"{state.st_size} {state.st_mtime_ns}")
    replace(source, target)

os.fsync, os.replace = noted_fsync, noted_replace
if __name__ == "__main__":
    from amix.cli import main

    main()
"""


@needs_proc
def test_whatever_vouches_for_files_gets_its_name_when_they_are_on_the_disk(
    corpus: Path, tiny_extractor: Path, tmp_path: Path
) -> None:
    (tmp_path / "witness.py").write_text(WITNESS)
    out = tmp_path / "new" / "out"
    arguments = command(corpus, out, tiny_extractor, OPTIONS, "--workers", "1")[3:]
    subprocess.run(
        [sys.executable, tmp_path / "witness.py", *arguments],
        env={**os.environ, "WITNESS": str(tmp_path / "log"), "PYTHONPATH": str(Path.cwd())},
        check=True,
        capture_output=True,
    )
    on_disk: dict[str, str] = {}
    settled: set[str] = set()
    unsettled: set[str] = set()
    for line in (tmp_path / "log").read_text().splitlines():
        match line.split("\t"):
            case "fsync", path, state if path == str(out):
                settled |= unsettled
                unsettled.clear()
            case "fsync", path, state:
                on_disk[path] = state
            case "replace", source, target, state:
                assert on_disk[source] == state, f"{target} got its name before its bytes were on the disk"
                name = Path(target).name
                if name == "manifest.json":
                    assert {"tokenizer.json", "README.md"} | {
                        f"shard-{n:08d}.json" for n in range(4)
                    } <= settled
                elif name.startswith("shard-") and name.endswith(".json"):
                    stem = name.removesuffix(".json")
                    assert {f"{stem}.tar", f"{stem}.index.npy", f"{stem}.crc.npy"} <= settled
                unsettled.add(name)
    assert not unsettled
    assert settled == set(contents(out))
    assert {str(tmp_path), str(tmp_path / "new")} <= on_disk.keys()  # the folders above, which are new too


def test_a_disk_that_fills_up_damages_nothing_and_the_run_goes_on_when_there_is_room(
    corpus: Path, tiny_extractor: Path, shards: Path, tmp_path: Path, private_mounts: Callable[..., object]
) -> None:
    script = """
        mount -t tmpfs -o size=$SIZE tmpfs "$OUT"
        code=0; "$@" 2> "$KEPT/errors" || code=$?
        echo $code > "$KEPT/code"
        cp -r "$OUT" "$KEPT/full"
        mount -o remount,size=64m "$OUT"
        "$@"
        cp -r "$OUT" "$KEPT/finished"
    """
    out = tmp_path / "out"
    out.mkdir()
    size = sum(map(len, contents(shards).values())) * 2 // 3
    start = command(corpus, out, tiny_extractor, OPTIONS, "--workers", "2")
    private_mounts(script, *start, OUT=out, KEPT=tmp_path, SIZE=size)

    errors = (tmp_path / "errors").read_text()
    assert int((tmp_path / "code").read_text()) == 1
    assert f"{out}: cannot be written: the disk is full" in errors
    assert "Make room there and run the same command again" in errors
    assert "Traceback" not in errors
    assert not list((tmp_path / "full").glob(".*"))
    assert 1 <= len(records(tmp_path / "full")) < 4
    assert_whole_so_far(tmp_path / "full", contents(shards))
    assert contents(tmp_path / "finished") == contents(shards)


def test_a_file_that_may_not_grow_is_told_and_the_run_goes_on_when_it_may(
    tiny_extractor: Path, tmp_path: Path, review_rows: list[dict[str, Any]], write_jsonl: Callable[..., Path]
) -> None:
    rows = review_rows[:16] + [{**row, "text": f"{row['text']} " * 4} for row in review_rows[:16]]
    corpus = write_jsonl(tmp_path / "corpus.jsonl", rows)
    precompute(str(corpus), tmp_path / "want", extractor=tiny_extractor, options=OPTIONS)
    small, large = ((tmp_path / "want" / f"shard-0000000{unit}.tar").stat().st_size for unit in (0, 1))
    assert small < large
    out = tmp_path / "out"
    done = subprocess.run(
        command(corpus, out, tiny_extractor, OPTIONS, "--workers", "1"),
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (small, small)),
    )
    assert done.returncode == 1
    assert f"{out}: cannot be written: the file would be larger than allowed" in done.stderr
    assert "run the same command again" in done.stderr
    assert set(contents(out)) == {f"shard-00000000.{end}" for end in ("tar", "index.npy", "crc.npy", "json")}
    precompute(str(corpus), out, extractor=tiny_extractor, options=OPTIONS)
    assert contents(out) == contents(tmp_path / "want")


def test_a_read_only_folder_is_refused_before_anything_is_computed_unless_it_is_finished(
    corpus: Path, tiny_extractor: Path, shards: Path, tmp_path: Path, private_mounts: Callable[..., object]
) -> None:
    script = """
        mount -t tmpfs tmpfs "$OUT"
        cp -r "$SHARDS"/. "$OUT"
        mount -o remount,ro "$OUT"
        "$@" 2> "$KEPT/finished"
        mount -o remount,rw "$OUT"
        rm "$OUT/manifest.json" "$OUT/shard-00000001.json"
        mount -o remount,ro "$OUT"
        code=0; "$@" 2> "$KEPT/begun" || code=$?
        echo $code > "$KEPT/code"
    """
    out = tmp_path / "out"
    out.mkdir()
    private_mounts(
        script, *command(corpus, out, tiny_extractor, OPTIONS), OUT=out, KEPT=tmp_path, SHARDS=shards
    )
    assert "was complete already" in (tmp_path / "finished").read_text()
    assert int((tmp_path / "code").read_text()) == 1
    errors = (tmp_path / "begun").read_text()
    assert f"{out}: cannot be written: the file system is read-only" in errors
    assert "Make it writable and run the same command again, or name another folder." in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EDQUOT, "quota is used up.*have the quota raised"),
        (errno.EACCES, "permission denied.*Change its permissions"),
        (errno.EIO, "input/output error.*Have it checked"),
    ],
)
def test_what_a_disk_refuses_is_told_with_its_remedy(tmp_path: Path, number: int, message: str) -> None:
    with pytest.raises(StorageError, match=message) as raised, atomic_writer(tmp_path / "file"):
        raise OSError(number, os.strerror(number))
    assert str(raised.value).startswith(f"{tmp_path}: ")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_another_plan_began_keeps_its_damaged_manifest(
    corpus: Path, tiny_extractor: Path, damaged: Path
) -> None:
    (damaged / "manifest.json").write_bytes(b"short")
    before = contents(damaged)
    with pytest.raises(ShardError, match="begun with"):
        precompute(str(corpus), damaged, extractor=tiny_extractor, options=replace(OPTIONS, dtype="float32"))
    assert contents(damaged) == before
