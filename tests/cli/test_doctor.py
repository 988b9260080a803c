"""`amix doctor` on this machine, and on environments that hold what it must find."""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from amix.cli import main
from amix.engine.base.machine import available_cores, total_memory

ROOT = Path(__file__).parents[2]


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages that is looked at before all others."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def install(folder: Path, name: str, version: str, requires: str | None = None) -> None:
    """Write the metadata that an installer leaves, which is what doctor reads."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    if requires is not None:
        lines.append(f"Requires-Dist: {requires}")
    (info / "METADATA").write_text("\n".join(lines) + "\n")


def doctor(*options: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *options])


def test_a_sound_installation_is_reported_with_versions_and_exit_code_0() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "amix", "doctor", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["problems"] == []
    assert report["packages"]["torch"] == importlib.metadata.version("torch")
    assert report["packages"]["onnxruntime"] == importlib.metadata.version("onnxruntime")
    assert "CPUExecutionProvider" in report["providers"]
    assert report["cores"] == available_cores()
    assert report["memory_bytes"] == total_memory()
    assert done.stderr == ""


def test_an_extra_counts_only_where_all_of_it_is_installed(packages: Path) -> None:
    info = packages / "attentionmix-9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: attentionmix\nVersion: 9\nProvides-Extra: old\n"
        "Requires-Dist: numpy<1; extra == 'old'\nRequires-Dist: old-companion; extra == 'old'\n"
    )
    assert "numpy" not in str(json.loads(doctor("--json").stdout.splitlines()[-1])["problems"])
    install(packages, "old-companion", "1.0")
    problems = json.loads(doctor("--json").stdout.splitlines()[-1])["problems"]
    assert ["amix needs <1" in problem["what"] for problem in problems] == [True]


def test_both_builds_of_onnxruntime_are_a_problem_with_a_remedy(packages: Path) -> None:
    install(packages, "onnxruntime-gpu", "1.32.0")
    done = doctor()
    assert done.exit_code == 1
    assert "onnxruntime-gpu 1.32.0 are both installed" in done.stdout
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in done.stdout
    assert "No problem found" not in done.stdout


def test_the_json_of_a_faulty_installation_holds_the_problem(packages: Path) -> None:
    install(packages, "onnxruntime-gpu", "1.32.0")
    done = doctor("--json")
    assert done.exit_code == 1
    what = [problem["what"] for problem in json.loads(done.stdout.splitlines()[-1])["problems"]]
    assert any("overwrite each other" in line for line in what)


@pytest.mark.parametrize(
    ("requires", "what"),
    [
        ("transformers<4", "amix needs <4"),
        ("no-such-package-at-all>=2", "no-such-package-at-all is not installed"),
    ],
)
def test_a_package_that_does_not_fit_is_named_with_what_to_install(
    packages: Path, requires: str, what: str
) -> None:
    install(packages, "attentionmix", "0.1.0", requires)
    done = doctor()
    assert done.exit_code == 1
    assert what in done.stdout
    assert f"pip install '{requires}'" in done.stdout


def test_an_extra_that_is_absent_is_no_problem(packages: Path) -> None:
    install(packages, "attentionmix", "0.1.0", 'no-such-package-at-all; extra == "gpu"')
    assert doctor().exit_code == 0


def test_a_broken_onnxruntime_is_a_problem_and_no_traceback(packages: Path) -> None:
    (packages / "onnxruntime.py").write_text("raise ImportError('libonnxruntime.so.1: file is cut short')\n")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(packages)!r}, {str(ROOT)!r}]\n"
         "from amix.cli import main; main(['doctor'], prog_name='amix')"],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "onnxruntime cannot be loaded: libonnxruntime.so.1" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
