"""`amix export` as a user types it."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from amix.cli import main
from amix.engine.base.installing import install
from amix.engine.extractor.folder import open_extractor
from amix.engine.extractor.session import open_session


def amix(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_export_says_what_it_made(tiny_bert: Path, tmp_path: Path) -> None:
    out = tmp_path / "extractor"
    done = amix("export", tiny_bert, out, "--layers", "0", "--format", "torchscript", "--relevance", "cls")
    assert done.exit_code == 0, done.output
    extractor = open_extractor(out)
    for part in (str(out), "model.torchscript.pt", "MB", "largest difference", extractor.fingerprint):
        assert part in done.stdout
    assert "Loading" not in done.stdout  # progress goes to stderr
    assert extractor.relevance == "cls"
    assert open_session(out).backend == "torchscript"


def test_json_is_one_object_on_the_last_line(tiny_bert: Path, tmp_path: Path) -> None:
    done = amix("export", tiny_bert, tmp_path / "out", "--layers", "0,1", "--format", "torchscript", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["extractor"] == str(tmp_path / "out")
    assert report["heads"] == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert report["parity"].keys() == {"torchscript"}
    assert report["parity"]["torchscript"].keys() == {"max_abs", "relative_l2"}
    assert report["parity"]["torchscript"]["max_abs"] < 1e-4
    assert report["fidelity"] is None
    assert report["max_length"] == 64
    assert report["fingerprint"] == open_extractor(tmp_path / "out").fingerprint
    assert (
        report["bytes"]["model.torchscript.pt"] == (tmp_path / "out" / "model.torchscript.pt").stat().st_size
    )


def test_mistakes_are_sentences_with_the_right_exit_code(tiny_bert: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for arguments, code, message in (
        ((tiny_bert, out, "--layers", "0-1"), 2, "--layers 0-1: not understood"),
        ((tiny_bert, out, "--layers", "5"), 2, "has layers 0 to 1"),
        ((tiny_bert, out, "--format", "tflite"), 2, "'tflite' is not one of 'onnx', 'torchscript', 'pt2'"),
        ((tmp_path / "absent", out), 2, "no such folder"),
        ((tmp_path, out), 1, "config.json is missing"),
    ):
        done = amix("export", *arguments)
        assert done.exit_code == code, done.output
        assert message in done.stderr
        assert "Traceback" not in done.output
        assert not out.exists()


def test_a_folder_in_use_is_refused(tiny_bert: Path, tiny_extractor: Path) -> None:
    before = sorted(tiny_extractor.iterdir())
    done = amix("export", tiny_bert, tiny_extractor)
    assert done.exit_code == 2
    assert "already holds other work" in done.stderr
    assert sorted(tiny_extractor.iterdir()) == before


@pytest.mark.parametrize(
    ("missing", "extra"), [("onnx", "onnx"), ("onnxscript", "onnx"), ("onnxruntime", "cpu")]
)
def test_a_missing_package_names_its_extra(
    missing: str, extra: str, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)  # what import finds where nothing is installed
    done = amix("export", tiny_bert, tmp_path / "out")
    assert done.exit_code == 1
    assert install(extra) in done.stderr
    assert not (tmp_path / "out").exists()
