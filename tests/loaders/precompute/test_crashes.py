"""Runs that a full disk, a signal or a kill ends early: nothing is damaged, and the same command goes on."""

import errno
import fcntl
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from amix.engine.base.errors import ShardError, StorageError
from amix.engine.base.publish import atomic_writer
from amix.loaders.precompute import run as precompute_module
from amix.loaders.precompute.run import PrecomputeOptions, precompute
from tests.loaders.conftest import contents
from tests.processes import started

needs_proc = pytest.mark.skipif(
    not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists(),
    reason="finding workers and open files needs Linux's /proc",
)

OPTIONS = PrecomputeOptions(samples_per_shard=16, workers=1)
TINY = PrecomputeOptions(samples_per_shard=2, workers=1)
KILLS = 50
PATIENCE = 60.0  # seconds; far more than anything here takes


@pytest.fixture(scope="module")
def long_corpus(tmp_path_factory, review_rows, write_jsonl):
    """Three hundred texts: 150 units of two."""
    rows = [{**row, "text": f"{row['text']} {turn}"} for turn in range(5) for row in review_rows]
    return write_jsonl(tmp_path_factory.mktemp("corpus") / "long.jsonl", rows)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, long_corpus, tiny_extractor):
    """What a run over `long_corpus` that nobody disturbs publishes: name -> bytes."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    precompute(str(long_corpus), out, extractor=tiny_extractor, options=TINY)
    return contents(out)


def command(corpus, out, extractor, options, *extra):
    arguments = [corpus, out, "--extractor", extractor, "--samples-per-shard", options.samples_per_shard]
    return [sys.executable, "-m", "amix", "precompute", *map(str, [*arguments, *extra])]


def records(out):
    return {path.name for path in out.glob("shard-*.json")}


def workers_of(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in task.read_text().split():
                if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
        except OSError:  # it has just gone
            continue
    return found


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def assert_whole_so_far(out, want):
    """What stands in `out` under a final name is whole, and the folder can be had at once."""
    for name, data in contents(out).items():
        if ".tmp-" not in name:
            assert data == want[name], name
    descriptor = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)


def stumble(start, out, want, chance, kills):
    """Give `start` again and again, killing a worker and the parent in turn, and finish it at the end."""
    done = 0
    while done < kills:
        before = records(out)
        with started(start) as process:
            if chance.random() < 0.2:  # anywhere from the very start
                time.sleep(chance.uniform(0, 1))
            else:  # while units are written, or the manifest
                wait_until(lambda b=before, p=process: records(out) != b or p.poll() is not None)
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
        wait_until(lambda w=workers: not any(map(is_running, w)))
        if out.exists():
            assert_whole_so_far(out, want)
    subprocess.run(start, check=True, capture_output=True)
    assert contents(out) == want
    return done


@needs_proc
def test_fifty_kills_of_workers_and_parents_change_no_byte(
    long_corpus, undisturbed, tiny_extractor, tmp_path
):
    def lane(workers):
        out = tmp_path / f"out-{workers}"
        start = command(long_corpus, out, tiny_extractor, TINY, "--workers", workers)
        return stumble(start, out, undisturbed, random.Random(workers), KILLS // 2)

    with ThreadPoolExecutor(2) as lanes:
        assert sum(lanes.map(lane, (1, 2))) == KILLS


@needs_proc
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
    long_corpus, undisturbed, tiny_extractor, tmp_path, number, code, whom, moment
):
    out = tmp_path / "out"
    start = command(long_corpus, out, tiny_extractor, TINY, "--workers", "2")
    with started(start, start_new_session=True) as process:
        wait_until(lambda: records(out) if moment == "units" else workers_of(process.pid))
        workers = workers_of(process.pid)
        (os.killpg if whom == "group" else os.kill)(process.pid, number)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, errors
    assert "same command again" in errors
    assert "Traceback" not in errors
    assert not any(map(is_running, workers))
    assert not list(out.glob(".*"))
    assert_whole_so_far(out, undisturbed)


@needs_proc
def test_nohup_is_honoured(long_corpus, undisturbed, tiny_extractor, tmp_path):
    def nohup():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    out = tmp_path / "out"
    start = command(long_corpus, out, tiny_extractor, TINY, "--workers", "2")
    with started(start, preexec_fn=nohup, start_new_session=True) as process:
        wait_until(lambda: records(out))
        os.killpg(process.pid, signal.SIGHUP)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert contents(out) == undisturbed


@needs_proc
def test_a_worker_ends_with_its_parent_even_in_a_call_that_stops_the_interpreter(tiny_extractor):
    # Its unit is a search that takes ages and lets no other thread of the worker run.
    code = """if True:
        import re
        import sys
        from pathlib import Path
        from amix.loaders.shards.layout import Layout
        from amix.loaders.shards.recipe import Recipe
        from amix.loaders.precompute.unit import UnitSettings
        from amix.loaders.precompute.workers import WorkerPool

        class Endless:
            def __reduce__(self):
                return re.match, ("(a|aa)+$", "a" * 60 + "b")

        settings = UnitSettings(
            out=Path(), extractor=Path(sys.argv[1]), device="cpu", backend="onnxruntime", threads=1,
            head_indices=(), max_length=8, recipe=Recipe({}), layout=Layout(
                heads=1, dtype="float16", wide_ids=False, token_types=False, classes=0, cls=True, text=False
            ),
        )
        with WorkerPool(settings, 1) as pool:
            list(pool.map(iter([(0, Endless())])))
    """

    def seconds_used(pid):
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11]
        return int(ticks) / os.sysconf("SC_CLK_TCK")

    with started([sys.executable, "-c", code, str(tiny_extractor)]) as process:
        wait_until(lambda: workers_of(process.pid) or process.poll() is not None)
        (worker,) = workers_of(process.pid)
        wait_until(lambda: seconds_used(worker) > 2)  # its imports take less than one
    try:
        wait_until(lambda: not is_running(worker))
    finally:
        if is_running(worker):
            os.kill(worker, signal.SIGKILL)


def test_a_second_run_is_refused_from_the_first_unit_to_the_manifest(
    corpus, tiny_extractor, shards, tmp_path, monkeypatch
):
    out, refused = tmp_path / "out", []

    def intrude(*_):
        with pytest.raises(ShardError, match=r"another process is writing shards there\. Wait for it"):
            precompute(str(corpus), out, extractor=tiny_extractor, options=OPTIONS)
        refused.append(sorted(path.name for path in out.glob("*.json")))

    def publish(*arguments, **named):
        intrude()
        original(*arguments, **named)
        intrude()

    original = precompute_module.publish_manifest
    monkeypatch.setattr(precompute_module, "publish_manifest", publish)
    precompute(str(corpus), out, extractor=tiny_extractor, options=OPTIONS, on_unit=intrude)
    assert len(refused) == 6
    assert "manifest.json" in refused[-1]
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

def without_manifest():
    shutil.copytree(shards, out, ignore=shutil.ignore_patterns("manifest.json", "tokenizer.json", "README.md"))

manifest_deaths = count_deaths(
    without_manifest,
    lambda: publish_manifest(out, records, recipe, relevance="received", tokenizer=tokenizer, truncated=0),
    contents(shards),
    lambda workspace: workspace.finished(recipe) is not None,
)
print(unit_deaths, manifest_deaths)
"""


def test_a_kill_before_any_step_of_publishing_leaves_a_unit_or_a_cache_whole_or_absent(
    shards, tiny_extractor, tmp_path
):
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
def test_whatever_vouches_for_files_gets_its_name_when_they_are_on_the_disk(corpus, tiny_extractor, tmp_path):
    (tmp_path / "witness.py").write_text(WITNESS)
    out = tmp_path / "new" / "out"
    arguments = command(corpus, out, tiny_extractor, OPTIONS, "--workers", "1")[3:]
    subprocess.run(
        [sys.executable, tmp_path / "witness.py", *arguments],
        env={**os.environ, "WITNESS": str(tmp_path / "log"), "PYTHONPATH": str(Path.cwd())},
        check=True,
        capture_output=True,
    )
    on_disk, settled, unsettled = {}, set(), set()
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


@pytest.fixture
def private_mounts():
    """A function that runs a shell script which may mount what it likes; its mounts go with it."""
    start = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-euc"]

    def run(script, *arguments, **variables):
        names = {name: str(value) for name, value in variables.items()}
        done = subprocess.run(
            [*start, script, "sh", *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, **names},
        )
        assert done.returncode == 0, done.stderr
        return done

    try:
        probe = subprocess.run(
            [*start, "mount -t tmpfs tmpfs /mnt"], check=False, capture_output=True, text=True
        )
    except OSError as problem:
        pytest.skip(f"a small file system cannot be made here: {problem}")
    if probe.returncode:
        pytest.skip(f"a small file system cannot be made here: {probe.stderr.strip()}")
    return run


def test_a_disk_that_fills_up_damages_nothing_and_the_run_goes_on_when_there_is_room(
    corpus, tiny_extractor, shards, tmp_path, private_mounts
):
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
    tiny_extractor, tmp_path, review_rows, write_jsonl
):
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
    corpus, tiny_extractor, shards, tmp_path, private_mounts
):
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
def test_what_a_disk_refuses_is_told_with_its_remedy(tmp_path, number, message):
    with pytest.raises(StorageError, match=message) as raised, atomic_writer(tmp_path / "file"):
        raise OSError(number, os.strerror(number))
    assert str(raised.value).startswith(f"{tmp_path}: ")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_another_plan_began_keeps_its_damaged_manifest(corpus, tiny_extractor, damaged):
    (damaged / "manifest.json").write_bytes(b"short")
    before = contents(damaged)
    with pytest.raises(ShardError, match="begun with"):
        precompute(str(corpus), damaged, extractor=tiny_extractor, options=replace(OPTIONS, dtype="float32"))
    assert contents(damaged) == before
