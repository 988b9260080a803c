"""What int8 and float16 cost is measured on export, kept in the record, and shown by export and info."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from amix.cli import main
from amix.engine.extractor.encoder import load_encoder
from amix.engine.extractor.folder import open_extractor
from amix.engine.extractor.measures import Fidelity
from amix.engine.extractor.module import RelevanceModule
from amix.engine.extractor.runner import Ids, Relevance
from amix.engine.extractor.session import open_session
from amix.exporters import export
from amix.exporters.fidelity import fidelity

MEASURES = ("relative_l2", "rank_correlation")


def amix(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def int8(
    tiny_bert: Path, tiny_extractor: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Result]:
    def as_captured_before(program: object, names: object, path: Path, opset: object) -> int:
        shutil.copy(tiny_extractor / "model.onnx", path)
        return 20

    out = tmp_path_factory.mktemp("int8") / "extractor"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "capture", lambda *_: None)  # seconds, and the graph is there already
        patch.setattr(export, "write_onnx", as_captured_before)
        done = amix("export", tiny_bert, out, "--dtype", "int8", "--json")
    assert done.exit_code == 0, done.output
    return out, done


def recorded(folder: Path) -> Fidelity:
    """Return the fidelity in a folder's record."""
    report = open_extractor(folder).fidelity
    assert report is not None
    return report


def test_the_record_says_what_int8_costs_head_by_head(int8: tuple[Path, Result]) -> None:
    heads, report = open_extractor(int8[0]).heads, recorded(int8[0])
    assert report.texts >= 12
    assert report.tokens > 400
    error, order = report.relative_l2, report.rank_correlation
    assert (error.best, error.worst) == (min(error.per_head), max(error.per_head))
    assert (order.worst, order.best) == (min(order.per_head), max(order.per_head))
    for measure in (error, order):
        assert len(measure.per_head) == len(heads)
        assert measure.median == pytest.approx(np.median(measure.per_head), abs=1e-6)
        layer, head = heads[measure.per_head.index(measure.worst)]
        assert measure.worst_head == f"{layer}.{head}"
    assert 0 < error.best < error.worst < 0.5
    assert 0.5 < order.worst < 1


def test_export_warns_with_the_worst_figures(int8: tuple[Path, Result]) -> None:
    out, done = int8
    report = recorded(out)
    (warning,) = [line for line in done.stderr.splitlines() if line.startswith("Warning")]
    for part in (
        f"worst {report.relative_l2.worst:.2%} ({report.relative_l2.worst_head})",
        f"worst {report.rank_correlation.worst:.3f} ({report.rank_correlation.worst_head})",
        "Use float32",
    ):
        assert part in warning
    document = json.loads((out / "extractor.json").read_text())
    assert json.loads(done.stdout.splitlines()[-1])["fidelity"] == document["fidelity"]


def test_info_shows_it(int8: tuple[Path, Result]) -> None:
    out, _ = int8
    document = json.loads((out / "extractor.json").read_text())["fidelity"]
    found = json.loads(amix("info", out, "--json").stdout)
    for measure in MEASURES:
        assert found[measure] == {key: value for key, value in document[measure].items() if key != "per_head"}
    assert f"worst {document['relative_l2']['worst']:.4g}" in amix("info", out).stdout


def test_float32_has_nothing_to_report(tiny_extractor: Path, tiny_bert: Path) -> None:
    assert open_extractor(tiny_extractor).fidelity is None
    assert "rank_correlation" not in json.loads(amix("info", tiny_extractor, "--json").stdout)
    # And the measure itself finds nothing: the graph computes what the encoder does.
    reference = RelevanceModule(load_encoder(str(tiny_bert)).model, [0, 1], cut=False)
    report = fidelity(open_session(tiny_extractor), reference)
    assert report.relative_l2.worst < 1e-4
    assert report.rank_correlation.worst > 0.999


def test_half_precision_says_its_cost_without_a_warning(tiny_bert: Path, tmp_path: Path) -> None:
    arguments = ("--dtype", "float16", "--format", "torchscript", "--layers", "0")
    done = amix("export", tiny_bert, tmp_path / "half", *arguments)
    assert done.exit_code == 0, done.output
    report = recorded(tmp_path / "half")
    assert 0 < report.relative_l2.worst < 5e-3
    assert report.rank_correlation.worst > 0.99
    assert "fidelity" in done.stdout
    assert "Warning" not in done.stderr


def test_the_measures_see_what_was_changed(tiny_extractor: Path, tiny_bert: Path) -> None:
    class Wrong:
        """A session whose head 1 is 10 % too large and whose head 2 has its order turned around."""

        def __init__(self) -> None:
            self._right = open_session(tiny_extractor)
            self.extractor = self._right.extractor

        def run(self, **inputs: Ids) -> Relevance:
            relevance = self._right.run(**inputs)
            relevance[:, 1] *= 1.1
            relevance[:, 2] *= -1
            return relevance

    reference = RelevanceModule(load_encoder(str(tiny_bert)).model, [0, 1], cut=False)
    report = fidelity(Wrong(), reference)  # type: ignore[arg-type]  # it has what fidelity uses of a session
    assert report.relative_l2.per_head == pytest.approx([0, 0.1, 2, 0], abs=1e-4)
    assert report.rank_correlation.per_head == pytest.approx([1, 1, -1, 1], abs=1e-3)
    assert report.relative_l2.worst_head == report.rank_correlation.worst_head == "1.0"
