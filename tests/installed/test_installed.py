"""The wheel in an environment of its own without extras: what works there, and what names what is missing."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import amix

ROOT = Path(__file__).parents[2]


def run(*command: object, cwd: Path) -> "subprocess.CompletedProcess[str]":
    # Nothing of this tree, and nothing of the environment that pytest runs in.
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        list(map(str, command)), cwd=cwd, env=clean, capture_output=True, text=True, check=False
    )


def test_it_is_the_wheel_and_not_this_tree(bin_folder: Path, tmp_path: Path) -> None:
    done = run(
        bin_folder / "python", "-c", "import amix; print(amix.__version__, amix.__file__)", cwd=tmp_path
    )
    version, file = done.stdout.split()
    assert version == amix.__version__
    assert Path(file).is_relative_to(bin_folder.parent)
    done = run(bin_folder / "python", "-c", "import onnxruntime", cwd=tmp_path)
    assert "ModuleNotFoundError" in done.stderr


@pytest.mark.parametrize("command", ["--help", "--version", "fit --help", "train --help", "doctor"])
def test_the_command_is_there(command: str, bin_folder: Path, tmp_path: Path) -> None:
    done = run(bin_folder / "amix", *command.split(), cwd=tmp_path)
    assert (done.returncode, bool(done.stdout)) == (0, True), done.stderr


def test_shards_are_verified_and_trained_on(
    bin_folder: Path, reviews: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    done = run(bin_folder / "amix", "verify", reviews, "--deep", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    command = ("train", reviews, "run", "--model", tiny_bert, "--epochs", 1, "--device", "cpu")
    done = run(bin_folder / "amix", *command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


def test_what_needs_an_extra_names_it(bin_folder: Path, tiny_bert: Path, tmp_path: Path) -> None:
    done = run(bin_folder / "amix", "export", tiny_bert, "extractor", cwd=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "needs" in done.stderr and "pip install" in done.stderr
    assert not (tmp_path / "extractor").exists()


def test_a_type_checker_sees_its_types(bin_folder: Path, tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("consumer.py.txt"), tmp_path / "consumer.py")
    command = (sys.executable, "-m", "mypy", "--strict", "--python-executable", bin_folder / "python")
    done = run(*command, "--cache-dir", tmp_path / "cache", "consumer.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_and_the_source_distribution_hold_the_same_package() -> None:
    (wheel,) = (ROOT / "dist").glob("*.whl")
    (source,) = (ROOT / "dist").glob("*.tar.gz")
    done = run("tar", "-tzf", source, cwd=ROOT)
    inside = {name.partition("/")[2] for name in done.stdout.splitlines()}
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("amix/")}
    assert packed == {name for name in inside if name.startswith("amix/")}
    assert {"README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "Makefile", "tests/conftest.py"} <= inside
    assert not [name for name in inside if name.startswith((".venv", ".git/", "dist/", "amix-demo"))]
