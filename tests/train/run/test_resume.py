"""A run that was stopped and resumed comes to what an undisturbed one comes to, bit for bit on the CPU."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from amix.engine.base import canonical
from amix.engine.base.errors import TrainError, UsageError
from amix.engine.base.processes import lock_folder
from amix.train.options.config import TrainConfig
from amix.train.options.file import Inputs, resolve, write_config
from amix.train.run.checkpoint import Checkpoint, find
from amix.train.run.result import TrainResult
from amix.train.run.train import train

CONFIG = TrainConfig(
    lr=3e-3, batch_size=8, epochs=3, p=0.8, clean_weight=0.2, checkpoint_steps=4, log_steps=3, device="cpu"
)


@pytest.fixture(scope="module")
def undisturbed(
    reviews: Path, held_out: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, TrainResult]:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    return run, train(reviews, run, str(tiny_bert), CONFIG, dev=held_out, evals=[("eval", held_out)])


def same(run: Path, result: TrainResult, other: tuple[Path, TrainResult]) -> None:
    assert result.eval == other[1].eval
    assert (result.dev, result.epoch, result.steps) == (other[1].dev, other[1].epoch, other[1].steps)
    for name in ("metrics.jsonl", "model/model.safetensors", "model/config.json"):
        assert (run / name).read_bytes() == (other[0] / name).read_bytes()


def test_the_last_two_checkpoints_are_kept_whole(undisturbed: tuple[Path, TrainResult]) -> None:
    run, _ = undisturbed
    assert [path.name for path in find(run)] == ["checkpoint-00000008", "checkpoint-00000012"]
    files = {
        "model.safetensors",
        "optimizer.safetensors",
        "best.safetensors",
        "state.json",
    }
    assert {path.name for path in find(run)[0].iterdir()} == files
    assert Checkpoint.load(find(run)[0]).state.progress.step == 8


@pytest.mark.parametrize("stop", [0, 1])
def test_going_on_from_a_checkpoint(
    stop: int,
    undisturbed: tuple[Path, TrainResult],
    reviews: Path,
    held_out: Path,
    tiny_bert: Path,
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    # As a kill after this checkpoint would leave it, later lines of the log included.
    shutil.copytree(undisturbed[0], run)
    for later in find(run)[stop + 1 :]:
        shutil.rmtree(later)
    shutil.rmtree(run / "model")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step":9')  # half a line
    (run / ".checkpoint-00000016.tmp-0123").mkdir()
    result = train(
        reviews, run, str(tiny_bert), CONFIG, dev=held_out, evals=[("eval", held_out)], resume=True
    )
    same(run, result, undisturbed)
    assert not list(run.glob(".*"))


def test_sigkill(
    undisturbed: tuple[Path, TrainResult], reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    write_config(tmp_path / "config.yaml", CONFIG, Inputs())
    command = [sys.executable, "-m", "amix", "train", str(reviews), str(run), "--model", str(tiny_bert)]
    command += [
        "--dev",
        str(held_out),
        "--eval",
        str(held_out),
        "--config",
        str(tmp_path / "config.yaml"),
        "--resume",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    limit = time.monotonic() + 120
    while child.poll() is None and not find(run) and time.monotonic() < limit:
        time.sleep(0.005)
    was_running = child.poll() is None
    child.send_signal(signal.SIGKILL)
    _, errors = child.communicate()
    assert was_running, errors.decode()
    assert find(run)
    result = train(
        reviews, run, str(tiny_bert), CONFIG, dev=held_out, evals=[("eval", held_out)], resume=True
    )
    same(run, result, undisturbed)


def test_how_often_to_mix_goes_on_too(reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, p="auto", clean_weight=0.0, checkpoints_kept=9)
    results = {}
    for name in ("whole", "stopped"):
        run = tmp_path / name
        if name == "stopped":
            shutil.copytree(tmp_path / "whole", run)
            for later in find(run)[2:]:  # what is left is from amid the second epoch
                shutil.rmtree(later)
            shutil.rmtree(run / "model")
        results[name] = train(
            reviews, run, str(tiny_bert), config, dev=held_out, evals=[("eval", held_out)], resume=True
        )
    same(tmp_path / "stopped", results["stopped"], (tmp_path / "whole", results["whole"]))


def test_a_finished_run_that_is_resumed_is_reported_once(
    reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, epochs=1, checkpoint_steps=5)  # as many as there are
    before = None
    for _ in range(2):
        result = train(
            reviews, tmp_path, str(tiny_bert), config, dev=held_out, evals=[("eval", held_out)], resume=True
        )
        log = (tmp_path / "metrics.jsonl").read_bytes()
        assert before in (None, (log, result.eval))
        before = (log, result.eval)


def test_resuming_where_nothing_is_starts_anew(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    config = resolve(CONFIG.as_dict(), {"epochs": 1, "checkpoint_steps": None, "samples": 16})
    first = train(reviews, tmp_path / "run", str(tiny_bert), config, resume=True)
    assert first.steps == 2
    with pytest.raises(UsageError, match=r"already holds a run\. Continue it with --resume"):
        train(reviews, tmp_path / "run", str(tiny_bert), config)
    with pytest.raises(UsageError, match="is finished and left no checkpoint"):
        train(reviews, tmp_path / "run", str(tiny_bert), config, resume=True)
    shutil.rmtree(tmp_path / "run" / "model")  # as if killed before the first checkpoint
    again = train(reviews, tmp_path / "run", str(tiny_bert), config, resume=True)
    assert again.eval == first.eval


def test_two_runs_do_not_train_in_one_folder(
    undisturbed: tuple[Path, TrainResult], reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(undisturbed[0], run)
    (run / ".checkpoint-00000016.tmp-1").mkdir()  # what the other one is writing
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    lock = lock_folder(run, "training", TrainError)  # as a run that still lives
    try:
        with pytest.raises(TrainError, match=f"{run}: another process is training there"):
            train(reviews, run, str(tiny_bert), CONFIG, dev=held_out, resume=True)
    finally:
        os.close(lock)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    train(reviews, run, str(tiny_bert), CONFIG, dev=held_out, resume=True)
    assert not list(run.glob(".*"))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"lr": 1e-3}, "lr was 0.003, is 0.001"),
        ({"epochs": 4}, "epochs was 3, is 4"),
        ({"method": "none"}, "method was 'attentionmix', is 'none'"),
    ],
)
def test_other_settings_are_refused_by_name(
    changed: dict[str, Any],
    says: str,
    undisturbed: tuple[Path, TrainResult],
    reviews: Path,
    held_out: Path,
    tiny_bert: Path,
) -> None:
    before = (undisturbed[0] / "config.yaml").read_bytes()
    with pytest.raises(TrainError, match=says):
        train(
            reviews,
            undisturbed[0],
            str(tiny_bert),
            resolve(CONFIG.as_dict(), changed),
            dev=held_out,
            resume=True,
        )
    assert (undisturbed[0] / "config.yaml").read_bytes() == before


def test_other_shards_are_refused(
    undisturbed: tuple[Path, TrainResult], held_out: Path, tiny_bert: Path
) -> None:
    with pytest.raises(TrainError, match="shards was"):
        train(held_out, undisturbed[0], str(tiny_bert), CONFIG, dev=held_out, resume=True)


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "best.safetensors"])
def test_a_damaged_checkpoint_is_noticed(
    name: str,
    undisturbed: tuple[Path, TrainResult],
    reviews: Path,
    held_out: Path,
    tiny_bert: Path,
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    shutil.copytree(undisturbed[0], run)
    path = find(run)[-1] / name
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    with pytest.raises(TrainError, match=name):
        train(reviews, run, str(tiny_bert), CONFIG, dev=held_out, resume=True)


def test_a_checkpoint_of_another_version_is_told_as_one(
    undisturbed: tuple[Path, TrainResult], reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(undisturbed[0], run)
    path = find(run)[-1] / "state.json"
    document = canonical.unseal(path.read_bytes(), str(path), TrainError)
    path.write_bytes(canonical.seal({**document, "state": {**document["state"], "a later field": 1}}))
    with pytest.raises(TrainError, match=rf"{path.parent.name}: was written by another version"):
        train(reviews, run, str(tiny_bert), CONFIG, dev=held_out, resume=True)


def test_a_damaged_log_is_not_continued(
    undisturbed: tuple[Path, TrainResult], reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(undisturbed[0], run)
    log = run / "metrics.jsonl"
    damaged = log.read_bytes().replace(b'"kind"', b'"sort"', 1)
    log.write_bytes(damaged)
    with pytest.raises(TrainError, match=r"metrics\.jsonl: cannot be continued .* Start a new run"):
        train(reviews, run, str(tiny_bert), CONFIG, dev=held_out, resume=True)
    assert log.read_bytes() == damaged


def test_a_full_disk_leaves_the_checkpoint_before(
    undisturbed: tuple[Path, TrainResult], reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(undisturbed[0], run)
    first, last = find(run)
    shutil.rmtree(last)
    shutil.rmtree(run / "model")
    before = {path.name: path.read_bytes() for path in first.iterdir()}
    write_config(tmp_path / "config.yaml", CONFIG, Inputs())
    most = (first / "model.safetensors").stat().st_size - 1
    script = (
        "import resource, sys; from amix.cli import main; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most})); main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", script, "train", reviews, run, "--model", tiny_bert, "--dev", held_out]
    command += ["--eval", held_out, "--config", tmp_path / "config.yaml", "--resume"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert f"{run}: cannot be written: the file would be larger than allowed there" in done.stderr
    assert "Traceback" not in done.stderr
    assert find(run) == [first]
    assert {path.name: path.read_bytes() for path in first.iterdir()} == before
    result = train(
        reviews, run, str(tiny_bert), CONFIG, dev=held_out, evals=[("eval", held_out)], resume=True
    )
    same(run, result, undisturbed)


def test_as_many_checkpoints_are_kept_as_asked_for(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    config = resolve(CONFIG.as_dict(), {"epochs": 1, "checkpoint_steps": 1, "checkpoints_kept": 3})
    train(reviews, tmp_path / "run", str(tiny_bert), config)
    assert [path.name[-1] for path in find(tmp_path / "run")] == ["3", "4", "5"]
