"""Runs whose output is in an S3-compatible store: one that fails now and then, drivers that die, and two at once."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from amix.engine.base.errors import ShardError, UsageError
from amix.loaders.precompute.run import PrecomputeOptions, precompute
from amix.loaders.shards.output import lease
from amix.loaders.shards.verify import verify
from amix.loaders.stores import transfer
from tests.loaders.conftest import contents
from tests.loaders.flaky import Fault, FlakyStore, now_and_then
from tests.loaders.precompute.runs import is_running, wait_until, workers_of
from tests.loaders.s3 import BUCKET, files, objects, s3_environment, s3_options
from tests.processes import started

OPTIONS = PrecomputeOptions(samples_per_shard=16, workers=1)
# A driver that gives signs of life, and expects them, more often than usual.
DRIVER = """if True:
    from amix.cli import main
    from amix.loaders.shards.output import lease

    lease.BEAT, lease.PATIENCE = 0.1, 1.0
    main(prog_name="amix")
"""


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(lease, "BEAT", 0.1)
    monkeypatch.setattr(lease, "PATIENCE", 1.0)


def driver(corpus: Path, out: str, extractor: Path, *options: str) -> list[str]:
    return [
        sys.executable,
        "-c",
        DRIVER,
        "precompute",
        str(corpus),
        out,
        "--extractor",
        str(extractor),
        *options,
    ]


def test_between_stores_that_fail_now_and_then_every_byte_arrives_once(
    corpus: Path, tiny_extractor: Path, shards: Path, s3: str, caplog: pytest.LogCaptureFixture
) -> None:
    files(s3).put_file(str(corpus), f"{BUCKET}/texts/{corpus.name}")
    with FlakyStore(s3, now_and_then()) as store:
        manifest = precompute(
            f"s3://{BUCKET}/texts/{corpus.name}",
            f"s3://{BUCKET}/faults",
            extractor=tiny_extractor,
            options=OPTIONS,
            storage_options=s3_options(store.url),
        )
    assert objects(s3, "faults") == contents(shards)
    assert manifest.samples == 60
    assert "s3cr3t" not in caplog.text
    # Where names are put, nothing is put under another one first.
    assert not [path for method, path in store.requests if method == "COPY"]


def test_a_driver_that_is_killed_is_run_again(
    corpus: Path,
    tiny_extractor: Path,
    shards: Path,
    s3: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, scratch = f"s3://{BUCKET}/killed", tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    held = threading.Event()

    def stalls(method: str, path: str, before: int) -> Fault:
        if method == "PUT" and path.endswith("2.tar"):  # two shards are there, the third is on its way
            held.wait(60)
        return None

    with FlakyStore(s3, stalls) as store:
        environment = {**os.environ, **s3_environment(store.url)}
        options = ("--samples-per-shard", "16", "--workers", "1")
        with started(driver(corpus, url, tiny_extractor, *options), env=environment) as process:
            wait_until(lambda: store.requests["PUT", f"/{BUCKET}/killed/shard-00000002.tar"])
            workers = workers_of(process.pid)
            process.kill()
            process.wait()
        wait_until(lambda: not any(map(is_running, workers)))
        held.set()
    assert list(scratch.glob("amix-sending-*"))
    assert "manifest.json" not in objects(s3, "killed")

    for name, value in s3_environment(s3).items():
        monkeypatch.setenv(name, value)
    again = subprocess.run(
        driver(corpus, url, tiny_extractor, *options, "--json"), capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    events = [json.loads(line) for line in again.stdout.splitlines()]
    assert [event["unit"] for event in events if event["event"] == "unit"] == [2, 3]
    assert events[-1]["shards_folder"] == url
    assert objects(s3, "killed") == contents(shards)
    assert verify(url, deep=True) == []
    assert not list(scratch.glob("amix-sending-*"))


def test_of_two_drivers_one_works_and_the_other_is_told(
    corpus: Path, tiny_extractor: Path, shards: Path, s3: str, tmp_path: Path
) -> None:
    url = f"s3://{BUCKET}/two"
    held = threading.Event()

    def stalls(method: str, path: str, before: int) -> Fault:
        if method == "PUT" and path.endswith("1.tar") and before == 0:
            held.wait(60)
        return None

    def run() -> Any:  # Any: whatever it returns
        return precompute(
            str(corpus), url, extractor=tiny_extractor, options=OPTIONS, storage_options=s3_options(s3)
        )

    with FlakyStore(s3, stalls) as store:
        environment = {**os.environ, **s3_environment(store.url)}
        options = ("--samples-per-shard", "16", "--workers", "1")
        with started(driver(corpus, url, tiny_extractor, *options), env=environment) as process:
            wait_until(lambda: store.requests["PUT", f"/{BUCKET}/two/shard-00000001.tar"])
            with pytest.raises(ShardError, match=rf"{url}: another process is writing shards there"):
                run()

            # It is stopped, as a machine is that sleeps. It counts as dead, and finds that out when it wakes up.
            os.kill(process.pid, signal.SIGSTOP)
            manifest = run()
            assert objects(s3, "two") == contents(shards)
            held.set()  # its worker, which went on, may publish no record now
            os.kill(process.pid, signal.SIGCONT)
            _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"{url}: this run lost its place to another one" in errors
    assert objects(s3, "two") == contents(shards)
    assert run().sha256 == manifest.sha256


def test_the_memory_of_one_process_is_no_place_for_workers(corpus: Path, tiny_extractor: Path) -> None:
    with pytest.raises(UsageError, match="memory of one process"):
        precompute(str(corpus), "memory://out", extractor=tiny_extractor, options=OPTIONS)
