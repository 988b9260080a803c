"""The scripts that measure on a GPU, tried on the CPU with tiny sizes: what a card is not to be kept waiting for."""

import json
import math
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ran:
    """What a run of the scripts wrote: figures by name, and what became of each piece of work."""

    figures: dict[str, list[float]]
    pieces: dict[str, str]
    lines: int


def run(out: Path, mode: str, *options: str, **folders: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "OUT": str(out),
        "PYTHON": sys.executable,
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    for name in ("AMIX_GPU", "AMIX_WORK", "AMIX_RESULTS"):
        environment.pop(name, None)
    environment |= {name: str(folder) for name, folder in folders.items()}
    command = ["bash", str(ROOT / "bench/gpu/run.sh"), mode, *options]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def written(path: Path) -> Ran:
    entries = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    figures: dict[str, list[float]] = {}
    for each in entries:
        if each["kind"] == "figure":
            figures.setdefault(each["name"], []).append(each["value"])
    pieces = {each["name"]: each["status"] for each in entries if each["kind"] == "piece"}
    return Ran(figures, pieces, len(entries))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of results of the runs below, which share encoders and extractors."""
    return tmp_path_factory.mktemp("gpu-out")


def shown(out: Path) -> str:
    """What `summary.py` makes of the results."""
    command = [sys.executable, str(ROOT / "bench/gpu/summary.py"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "nothing here is a measurement" in done.stdout
    return done.stdout


def test_the_engine_script_measures_every_figure(out: Path) -> None:
    done = run(out, "engine", "--smoke")
    assert done.returncode == 0, done.stderr
    assert "| no card |" in done.stdout and "| met |" not in done.stdout  # a trial reaches no goal
    engine = written(out / "engine.jsonl")
    both = ("eager bfloat16", "eager float16", "SDPA bfloat16, no maps")
    sessions = [f"minilm, all heads, session onnxruntime {dtype}" for dtype in ("float16", "float32")]
    shards = "minilm, all heads, text to shards, onnxruntime float16"
    expected = {
        *(f"products, {kind}" for kind in ("float32", "TF32", "float16", "bfloat16")),
        "bandwidth, memory",
        *(
            f"bandwidth, {way} the card, {memory}"
            for way in ("to", "from")
            for memory in ("pinned", "pageable")
        ),
        *(f"{encoder}, {peer}" for encoder in ("minilm", "bert-base") for peer in both),
        "minilm, compiled float16",
        *sessions,
        *(f"{session}, share of the rate of products" for session in sessions),
        "minilm, all heads, copies",
        shards,
        f"{shards}, 2 workers",
        *(f"{shards}, {part}" for part in ("steady", "tokenize", "session", "store", "start-up")),
        *(f"steps, {method}" for method in ("none", "attentionmix", "attentionmix, online")),
        *(f"step, {method} over none" for method in ("attentionmix", "attentionmix, online")),
        "minilm, parity, onnxruntime float16, relative L2",
        "minilm, parity, onnxruntime float16, largest difference",
    }
    for name in expected:
        assert name in engine.figures, name
        assert all(math.isfinite(value) and value > 0 for value in engine.figures[name]), name
    # The device is the reference here.
    assert engine.figures["minilm, parity, onnxruntime float32, relative L2"] == [0]
    assert engine.figures["minilm, parity, onnxruntime float16, relative L2"][0] < 0.05
    for name in (*sessions, "minilm, eager bfloat16", shards):
        assert len(engine.figures[name]) == 2, f"{name}: one figure for each turn"
    assert set(engine.pieces.values()) <= {"done", "absent"}
    absent = {name for name, status in engine.pieces.items() if status == "absent"}
    assert all("triton" in name for name in absent)
    summary = shown(out)
    for name in engine.figures:
        assert f"| {name} |" in summary


def results(work: Path, mode: str) -> dict[Path, int]:
    folder = work / "results" / mode
    return {
        path.relative_to(folder): path.stat().st_mtime_ns
        for path in folder.glob("*/runs/*/*/*/*/result.json")
    }


@pytest.mark.parametrize("mode", ["table", "evidence"])
def test_a_comparison_runs_once_and_goes_on_elsewhere_from_its_archive(
    mode: str, out: Path, tmp_path: Path
) -> None:
    done = run(out, mode, "--smoke")
    assert done.returncode == 0, done.stderr
    ran = written(out / f"{mode}.jsonl")
    assert set(ran.pieces.values()) == {"done"}
    # The others are not computed where no run reads them.
    assert any("layer 0" in name for name in ran.pieces)
    before = results(out / "smoke" / "work", mode)
    labels = {path.parent.parent.name for path in before}
    assert labels == (
        {"none", "attentionmix_paper", "attentionmix_0.mean"} if mode == "table" else {"none", "attentionmix"}
    )
    assert "accuracy" in shown(out)

    done = run(out, mode, "--smoke")
    assert done.returncode == 0, done.stderr
    assert results(out / "smoke" / "work", mode) == before
    again = written(out / f"{mode}.jsonl")
    assert again.pieces == ran.pieces  # no piece of work was begun
    assert again.lines > ran.lines  # but where it ran is noted

    # Another machine, which begins with no results but the archive.
    elsewhere = {"AMIX_GPU": out / "smoke", "AMIX_WORK": tmp_path / "work", "AMIX_RESULTS": out}
    done = run(tmp_path / "out", mode, "--smoke", **elsewhere)
    assert done.returncode == 0, done.stderr
    assert results(tmp_path / "work", mode).keys() == before.keys()
    assert written(tmp_path / "out" / f"{mode}.jsonl").pieces == ran.pieces
    assert not list((tmp_path / "work").glob("*/*/caches"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{mode}.jsonl", f"{mode}.tar.gz"]
    assert names(tmp_path / "out" / f"{mode}.tar.gz") == names(out / f"{mode}.tar.gz")


def test_runs_that_the_archive_lacks_are_compared_with_those_it_holds(out: Path, tmp_path: Path) -> None:
    done = run(out, "evidence", "--smoke")
    assert done.returncode == 0, done.stderr
    with tarfile.open(out / "evidence.tar.gz") as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    shutil.rmtree(next((tmp_path / "unpacked").glob("*/*/runs/*/*/none")))
    (tmp_path / "out").mkdir()
    with tarfile.open(tmp_path / "out" / "evidence.tar.gz", "w:gz") as tar:
        for path in (tmp_path / "unpacked").iterdir():
            tar.add(path, path.name)

    elsewhere = {"AMIX_GPU": out / "smoke", "AMIX_WORK": tmp_path / "work"}
    done = run(tmp_path / "out", "evidence", "--smoke", **elsewhere)
    assert done.returncode == 0, done.stderr
    assert len(results(tmp_path / "work", "evidence")) == 2
    (log,) = (tmp_path / "work" / "results" / "evidence").glob("*.log")
    assert names(tmp_path / "out" / "evidence.tar.gz") == names(out / "evidence.tar.gz")
    assert "accuracy" in shown(tmp_path / "out"), log.read_text("utf-8")


def names(archive: Path) -> set[str]:
    with tarfile.open(archive) as tar:
        return set(tar.getnames())


@pytest.mark.parametrize("mode", ["engine", "table", "evidence"])
def test_a_run_without_time_says_what_it_skipped(mode: str, out: Path, tmp_path: Path) -> None:
    if (out / "smoke").exists():
        (tmp_path / "smoke").mkdir()
        for part in ("data", "minilm", "mpnet"):  # made once
            shutil.copytree(out / "smoke" / part, tmp_path / "smoke" / part)
        (tmp_path / "smoke" / "whole").touch()
    done = run(tmp_path, mode, "--smoke", "--seconds", "0.5")
    assert done.returncode == 0, done.stderr
    ran = written(tmp_path / f"{mode}.jsonl")
    work = {name: status for name, status in ran.pieces.items() if not name.startswith("grid ")}
    assert work and set(work.values()) == {"skipped"}
    for name in work:
        assert f"{name}: skipped" in done.stderr
