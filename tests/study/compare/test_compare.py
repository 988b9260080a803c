"""Comparisons: grids from YAML and flags, runs that go on, and statistics against plain loops."""

import contextlib
import csv
import itertools
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from amix.cli import main
from amix.engine.base import canonical
from amix.engine.base.errors import AmixError, ConfigError, HeadError, TrainError, UsageError
from amix.loaders.shards.manifest import Manifest
from amix.loaders.stream.dataset import RelevanceDataset
from amix.study.compare import statistics
from amix.study.compare.candidates import compared_specs
from amix.study.compare.comparison import Comparison
from amix.study.compare.grid import Grid, Method
from amix.study.compare.gridfile import as_document, grid_of, read_grid
from amix.study.compare.outcome import Outcome
from amix.study.compare.runner import FailedRunsError, run_grid
from amix.study.compare.sizing import sensible_jobs
from amix.study.compare.statistics import (
    holm,
    paired_difference,
    resampled_metrics,
    resampled_texts,
    sign_flip_p,
    weighted_metrics,
)
from amix.study.compare.summary import summarise
from amix.study.compare.tables import markdown, write_summary
from amix.study.compare.verdict import in_short
from amix.study.report.reports import report as report_page
from amix.train.score.evaluate import Predictions
from amix.train.score.metrics import calibration, report
from tests.hubcache import COMMIT, offline
from tests.processes import started

GRID = """
model: {model}
options: {{lr: 3e-3, batch_size: 8, epochs: 1, device: cpu}}
corpora:
  reviews: {{train: {train}, dev: {dev}, eval: {{test: {test}}}}}
samples: {{16: {{epochs: 2}}, all: }}
seeds: 2
methods:
  none:
  wordmixup: {{alpha: 0.5}}
  attentionmix 0.1: {{head: "0.1", seeds: [1]}}
"""


SAMPLES = "samples: {16: {epochs: 2}, all: }"


@pytest.fixture
def grid_file(tmp_path: Path, reviews: Path, held_out: Path, tiny_bert: Path) -> Path:
    path = tmp_path / "grid.yaml"
    path.write_text(GRID.format(model=tiny_bert, train=reviews, dev=held_out, test=held_out))
    return path


def amix(*arguments: object) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def with_samples(grid_file: Path, texts: int) -> str:
    """The text of the grid with one number of training texts, to be run in less time."""
    text = grid_file.read_text()
    assert SAMPLES in text
    return text.replace(SAMPLES, f"samples: [{texts}]")


def test_a_grid_names_every_run(grid_file: Path) -> None:
    cells = list(read_grid(grid_file).cells())
    assert len(cells) == 2 * (2 + 2 + 1)
    first = cells[0]
    assert (first.corpus, first.samples, first.method, first.seed) == ("reviews", 16, "none", 0)
    assert (first.config.epochs, first.config.samples, first.config.lr) == (2, 16, 3e-3)
    by_folder = {str(cell.folder): cell.config for cell in cells}
    mixed = by_folder["runs/reviews/all/attentionmix_0.1/seed-01"]
    assert (mixed.method, mixed.head, mixed.epochs, mixed.samples) == ("attentionmix", "0.1", 1, None)
    assert by_folder["runs/reviews/16/wordmixup/seed-01"].alpha == 0.5
    # Every method has the texts and the order of its seed.
    for cell in cells:
        assert cell.config.seed == cell.config.subset_seed == cell.seed


def test_a_grid_settles_how_often_each_run_mixes(grid_file: Path) -> None:
    text = grid_file.read_text() + "  attentionmix paper: {preset: paper, strength: 0.5}\n"
    for written, p in ((text, "auto"), (re.sub("dev: [^,]*, ", "", text), "learnt")):
        grid_file.write_text(written)
        found = {cell.method: cell.config for cell in read_grid(grid_file).cells()}
        assert (found["wordmixup"].p, found["attentionmix 0.1"].p) == (1.0, p)
        assert (found["attentionmix paper"].p, found["attentionmix paper"].strength) == (1.0, 0.5)


def test_methods_of_a_grid_may_differ_in_their_development_sets(
    grid_file: Path, held_out: Path, tmp_path: Path
) -> None:
    lines = "  none held: {dev: 0.25}\n  none last: {dev: none}\n  attentionmix held: {dev: 0.25}\n"
    grid_file.write_text(grid_file.read_text() + lines + "  attentionmix last: {dev: none}\n")
    grid = read_grid(grid_file)
    found = {cell.method: cell for cell in grid.cells() if cell.samples == 16}
    assert [found[label].dev for label in ("none", "none held", "none last")] == [
        str(held_out), "0.25", "none",
    ]  # fmt: skip
    assert [found[f"attentionmix {how}"].config.p for how in ("held", "last")] == ["auto", "learnt"]

    short = {label: grid.methods[label] for label in ("none", "none held", "none last")}
    small = replace(grid, methods=short, seeds=[0], samples={16: {}})
    outcomes = {each.cell.method: each.result for each in run_grid(small, tmp_path / "out")}
    assert [outcomes[label].steps for label in short] == [2, 2, 2]
    assert (outcomes["none last"].dev, outcomes["none last"].temperature) == (None, None)
    kept = Predictions.load(tmp_path / "out/runs/reviews/16/none_held/seed-00/predictions/dev.safetensors")
    assert len(kept.rows) == 4
    assert run_grid(small, tmp_path / "out")  # and each is known again
    other = replace(small, methods={"none held": Method(options={"dev": "0.5"})})
    with pytest.raises(TrainError, match=r"dev was '0\.25', is '0\.5'"):
        run_grid(other, tmp_path / "out")


def test_a_grid_judges_an_ensemble_beside_its_models(grid_file: Path, tmp_path: Path) -> None:
    grid = read_grid(grid_file)
    methods = {
        "none": grid.methods["none"],
        "none cv": Method(options={"dev": "cv:2", "ensemble": "folds"}),
    }
    small = replace(grid, methods=methods, seeds=[0, 1], samples={16: {}})
    outcomes = run_grid(small, tmp_path / "out")
    assert not list((tmp_path / "out").glob("runs/*/*/*/*/[fe]*"))  # folds and ensembles are not kept
    rows = {row.method: row for row in summarise(small, outcomes)}
    assert list(rows) == ["none", "none cv", "none cv, ensemble of 3"]
    together, single = rows["none cv, ensemble of 3"], rows["none cv"]
    found = [outcome.result for outcome in outcomes if outcome.cell.method == "none cv"]
    ensembles = [result.ensemble for result in found if result.ensemble is not None]
    assert together.values["nll"] == [each.eval["test"]["nll"] for each in ensembles]
    assert together.values["scaled nll"] == [each.scaled["test"]["nll"] for each in ensembles]
    assert single.values["nll"] == [result.eval["test"]["nll"] for result in found]
    assert together.spent == single.spent
    kept = [
        Predictions.load(outcome.folder / "predictions" / "ensemble-test.safetensors").report()["accuracy"]
        for outcome in outcomes
        if outcome.cell.method == "none cv"
    ]
    plain = rows["none"].values["accuracy"]
    expected = np.mean(np.array(kept) - np.array(plain))
    assert together.differences["accuracy"].mean == pytest.approx(expected)

    write_summary(tmp_path / "out", small, outcomes, list(rows.values()))
    assert "| none cv, ensemble of 3 | 2 |" in (tmp_path / "out" / "table.md").read_text()
    lines = list(csv.DictReader((tmp_path / "out" / "runs.csv").read_text().splitlines()))
    assert [line["method"] for line in lines].count("none cv, ensemble of 3") == 2
    assert Comparison.read(tmp_path / "out").rows == tuple(rows.values())


def test_a_method_may_train_on_a_cache_of_its_own(
    grid_file: Path, held_out: Path, reviews: Path, tmp_path: Path
) -> None:
    own = tmp_path / "students" / "reviews-16-1"
    shutil.copytree(held_out, own)
    grid_file.write_text(
        with_samples(grid_file, 16)
        + f"  none student: {{train: '{tmp_path}/students/{{corpus}}-{{samples}}-{{seed}}'}}\n"
    )
    grid = read_grid(grid_file)
    found = {(cell.method, cell.seed): cell for cell in grid.cells()}
    student = found["none student", 1]
    assert (student.train, student.samples, student.config.samples) == (str(own), 16, None)
    assert (found["none", 1].train, found["none", 1].config.samples) == (str(reviews), 16)
    written = json.loads(json.dumps(as_document(grid)))
    assert list(grid_of(written, grid_file).cells()) == list(grid.cells())

    methods = {"none": Method(seeds=[1]), "none student": replace(grid.methods["none student"], seeds=[1])}
    outcomes = run_grid(replace(grid, methods=methods), tmp_path / "out")
    assert [each.result.steps for each in outcomes] == [2, 3]  # batches of 8 of 16 texts, and of all 20
    student_row = summarise(replace(grid, methods=methods), outcomes)[1]
    assert student_row.differences["nll"].seeds == 1


@pytest.mark.parametrize(
    ("was", "becomes", "message"),
    [
        ("alpha: 0.5", "preset: word", "preset is 'word'; it must be one of: paper"),
        ("alpha", "alhpa", r"grid\.yaml: methods: wordmixup: unknown key 'alhpa'\. Did you mean 'alpha'\?"),
        ("alpha: 0.5", "alpha: -1", r"grid\.yaml: alpha is -1.0; it must be a number above 0"),
        ("alpha: 0.5", "seed: 3", r"unknown key 'seed'\. The grid sets it for each run"),
        ("alpha: 0.5", "read_workers: 2", r"unknown key 'read_workers'\. A run of a comparison is a worker"),
        ("wordmixup:", "wordmix:", "the label 'wordmix' does not begin with a method"),
        ("seeds: 2", "seeds: 0", "seeds is 0; write how many"),
        ("seeds: 2", "seeds: [1, 1]", "would share the folder"),
        ("samples: {16:", "samples: {-16:", r"grid\.yaml: samples: '-16' is not a number of training texts"),
        ("corpora:", "corpera:", r"unknown key 'corpera'\. Did you mean 'corpora'\?"),
        ("model:", "models:", r"unknown key 'models'\. Did you mean 'model'\?"),
        (SAMPLES, "samples: 100", r"grid\.yaml: samples is 100; write a list"),
        (SAMPLES, "samples: []", r"grid\.yaml: samples is empty; name at least one"),
        ("eval: {test: ", "eval: {mr/test: ", "the evaluation set 'mr/test' cannot be called that"),
        ("eval: {test: ", "eval: 3, options: {head: ", "reviews: eval must be shards"),
        ("reviews: {", "reviews: {options: {dev: x/y}, ", r"options: dev is 'x/y'; here it must be a share"),
        ("alpha: 0.5", "dev: 7", r"grid\.yaml: methods: wordmixup: dev is 7; a share of the training texts"),
        ("alpha: 0.5", "dev: 'cv:1'", r"grid\.yaml: methods: wordmixup: dev is cv:1; cv:K takes a number"),
        ("alpha: 0.5", "train: 3", r"grid\.yaml: methods: wordmixup: train is 3; name shards"),
        ("reviews: {", "plays: {train: x, dev: 3}\n  reviews: {", r"corpora: plays: dev is 3; a share"),
        ("eval: {test: ", "options: {head: ", "corpus 'reviews' has no shards to report on"),
    ],
)
def test_a_grid_that_cannot_be_is_refused_by_file_and_key(
    was: str, becomes: str, message: str, grid_file: Path
) -> None:
    grid_file.write_text(grid_file.read_text().replace(was, becomes))
    with pytest.raises(ConfigError, match=message):
        read_grid(grid_file)


def test_a_comparison_is_run_once_and_summed_up(grid_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = amix("compare", grid_file, out, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1])["runs"] == 10
    assert list(read_grid(out / "grid.yaml").cells()) == list(read_grid(grid_file).cells())
    lines = list(csv.DictReader((out / "runs.csv").read_text().splitlines()))
    assert len(lines) == 10
    comparison = Comparison.read(out)
    (row,) = (row for row in comparison.rows if (row.samples, row.method) == (16, "wordmixup"))
    of_csv = [
        float(each["nll"]) for each in lines if (each["samples"], each["method"]) == ("16", "wordmixup")
    ]
    assert row.values["nll"] == pytest.approx(of_csv)
    (baseline,) = (row for row in comparison.rows if (row.samples, row.method) == (16, "none"))
    differences = np.subtract(row.values["accuracy"], baseline.values["accuracy"])
    found = row.differences["accuracy"]
    assert found.mean == pytest.approx(differences.mean())
    assert found.low <= found.mean <= found.high
    assert (found.p, found.seeds) == (None, 2)
    assert row.spent["steps"] == [4, 4]
    assert row.spent["tokens"] == baseline.spent["tokens"]  # the same texts in every epoch
    # What is read is what was written, of the same grid.
    comparison.write(tmp_path)
    assert (tmp_path / "comparison.json").read_bytes() == (out / "comparison.json").read_bytes()
    found_cells, cells = (
        {cell.folder: cell for cell in grid.cells()} for grid in (comparison.grid, read_grid(grid_file))
    )
    assert found_cells == cells
    assert "accuracy minus that of none" in (out / "report.html").read_text()
    table = (out / "table.md").read_text()
    assert table.startswith(f"{in_short(comparison.rows)}\n")
    assert "**reviews, 16 training texts, test**" in table
    assert "| minus none |" in table
    assert not list(out.rglob("*.safetensors.tmp*"))
    assert not (out / "runs/reviews/16/none/seed-00/model").exists()

    times = {path: path.stat().st_mtime_ns for path in out.rglob("result.json")}
    victim = out / "runs/reviews/all/none/seed-01"
    (victim / "result.json").unlink()
    (victim.with_name(".seed-07.run") / "checkpoint-00000004").mkdir(parents=True)  # of a run that was killed
    assert amix("compare", grid_file, out).exit_code == 0
    again = {path: path.stat().st_mtime_ns for path in out.rglob("result.json")}
    assert {path for path in times if again[path] != times[path]} == {victim / "result.json"}
    assert not list(out.rglob(".seed-*"))
    assert (
        (out / "runs.csv").read_text().splitlines()[0].startswith("corpus,eval,samples,method,seed,accuracy")
    )

    grid_file.write_text(grid_file.read_text().replace("alpha: 0.5", "alpha: 0.6"))
    done = amix("compare", grid_file, out)
    assert done.exit_code == 1
    assert "seed-00: holds a run with other settings: alpha was 0.5, is 0.6" in done.stderr


def test_a_comparison_goes_on_where_another_machine_built_the_cache(
    grid_file: Path, reviews: Path, held_out: Path, tmp_path: Path
) -> None:
    grid_file.write_text(with_samples(grid_file, 8))
    out, moved = tmp_path / "out", tmp_path / "moved"
    run_grid(read_grid(grid_file), out)
    shutil.copytree(reviews, moved)
    elsewhere = grid_file.with_name("elsewhere.yaml")
    elsewhere.write_text(grid_file.read_text().replace(str(reviews), str(moved)))

    def rewritten(change: Callable[[dict[str, Any]], object]) -> Manifest:
        path = moved / "manifest.json"
        fields = json.loads(path.read_text())
        change(fields)
        path.write_bytes(canonical.seal({name: each for name, each in fields.items() if name != "sha256"}))
        return Manifest.read(moved)

    before = Manifest.read(moved)
    after = rewritten(lambda fields: fields["plan"]["environment"].update(instructions="another"))
    assert (after.sha256 != before.sha256, after.portable_sha256) == (True, before.portable_sha256)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("result.json")}
    assert len(run_grid(read_grid(elsewhere), out)) == len(times) == 5
    assert all(path.stat().st_mtime_ns == then for path, then in times.items())

    after = rewritten(lambda fields: fields.update(tokens=fields["tokens"] + 1))  # cut otherwise there
    assert after.portable_sha256 != before.portable_sha256
    rewritten(lambda fields: fields.update(tokens=before.tokens))
    rewritten(lambda fields: fields["plan"]["corpus"].update(text_column="another"))
    with pytest.raises(TrainError, match="seed-00: holds a run with other settings: shards was"):
        run_grid(read_grid(elsewhere), out)


def test_a_comparison_knows_its_model_by_the_weights(
    grid_file: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    text = with_samples(grid_file, 8)
    out, moved = tmp_path / "out", tmp_path / "moved"
    shutil.copytree(tiny_bert, moved)
    grid_file.write_text(text)
    run_grid(read_grid(grid_file), out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("result.json")}
    grid_file.write_text(text.replace(str(tiny_bert), str(moved)))
    run_grid(read_grid(grid_file), out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("result.json")} == times

    weights = load_file(moved / "model.safetensors")
    save_file(
        {name: value + 0.01 for name, value in weights.items()}, moved / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(TrainError, match="seed-00: holds a run with other settings: model was"):
        run_grid(read_grid(grid_file), out)
    grid_file.write_text(text.replace(str(tiny_bert), str(tmp_path / "nowhere")))
    with pytest.raises(UsageError, match="nowhere: no such folder"):
        run_grid(read_grid(grid_file), out)


def test_a_model_of_the_hub_is_known_by_its_commit(tiny_bert: Path, tmp_path: Path) -> None:
    code = "from amix.train.model.classifier import model_identity; print(model_identity('who/what'))"
    assert offline(tiny_bert, tmp_path, code) == f"who/what at {COMMIT}\n"


def test_flags_name_a_grid_too(reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, shards in (("train", reviews), ("validation", held_out), ("test", held_out)):
        (folder / name).symlink_to(shards)
    out = tmp_path / "out"
    flags = ["--model", tiny_bert, "--seeds", 1, "--samples", "8", "--epochs", 1, "--batch-size", 8]
    done = amix("compare", folder, out, *flags, "--methods", "none,attentionmix", "--heads", "0.1,mean")
    assert done.exit_code == 0, done.output
    assert "**mine, 8 training texts, test**" in done.stdout
    names = {path.parent.name for path in (out / "runs/mine/8").rglob("seed-00")}
    assert names == {"none", "attentionmix_0.1", "attentionmix_mean"}
    done = amix("compare", folder, out, *flags, "--heads", "7", "--methods", "attentionmix")
    assert (
        f"--heads '7': {folder / 'train'} does not hold it. It holds layers 0, 1: heads 0, 1." in done.stderr
    )
    done = amix("compare", folder, out, *flags, "--heads", "auto", "--methods", "attentionmix")
    assert "--heads auto: auto and specs that take turns" in done.stderr and "'head:'" in done.stderr

    done = amix("compare", folder, out, *flags, "--heads", "0.1", "--methods", "none, wordmixup")
    assert "--heads 0.1: none of --methods none, wordmixup uses heads" in done.stderr
    done = amix("compare", tmp_path, out, *flags)
    assert "no folders 'train', 'validation' and 'test'" in done.stderr


def test_a_share_or_folds_go_with_several_caches(
    reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for corpus in ("one", "two"):
        (tmp_path / corpus).mkdir()
        for name, shards in (("train", reviews), ("validation", held_out), ("test", held_out)):
            (tmp_path / corpus / name).symlink_to(shards)
    grids: list[Grid] = []
    monkeypatch.setattr("amix.cli.compare._compare", lambda grid, *_: grids.append(grid))
    both = (tmp_path / "one", tmp_path / "two", tmp_path / "out", "--model", tiny_bert)
    assert amix("compare", *both, "--methods", "none", "--dev", "cv:2").exit_code == 0
    assert {cell.dev for cell in grids[0].cells()} == {"cv:2"}
    refused = amix("compare", *both, "--methods", "none", "--dev", held_out)
    assert "--dev and --eval belong to one cache" in refused.stderr


def test_heads_of_a_list_are_compared_where_all_caches_hold_them(
    reviews: Path, make_shards: Callable[..., Path], review_rows: list[dict[str, Any]], tiny_bert: Path
) -> None:
    few = str(make_shards(review_rows[:8], heads="1"))
    for text, caches, specs in (
        ("1", [str(reviews)], ["1.0", "1.1"]),
        ("mean,all", [str(reviews)], ["mean", "0.0", "0.1", "1.0", "1.1"]),
        ("all", [str(reviews), few], ["1.0", "1.1"]),
        ("1.mean,1.1", [few, str(reviews)], ["1.mean", "1.1"]),
    ):
        assert [str(spec) for spec in compared_specs(text, caches)] == specs
    single = [str(make_shards(review_rows[:8], heads=f"0.{head}")) for head in (0, 1)]
    with pytest.raises(HeadError, match=r"--heads 0: .* have none of these heads in common"):
        compared_specs("0", single)
    with pytest.raises(HeadError, match=r"--heads '0\.1': .* does not hold it. It holds layer 1: heads 0, 1"):
        compared_specs("0.1", [str(reviews), few])
    # Online it is the model whose heads are meant, whatever is cached.
    assert [str(spec) for spec in compared_specs("0", [few], str(tiny_bert))] == ["0.0", "0.1"]


def test_flags_do_not_go_with_a_file(grid_file: Path, tmp_path: Path) -> None:
    for option, value in (("--samples", "8"), ("--eval", "x"), ("--lr", "1e-3")):
        done = amix("compare", grid_file, tmp_path / "out", option, value)
        assert (
            done.exit_code,
            f"{option} cannot be used with {grid_file}. Write it into the file." in done.stderr,
        ) == (
            2,
            True,
        )


def test_a_result_of_another_version_is_refused(grid_file: Path, tmp_path: Path) -> None:
    grid_file.write_text(with_samples(grid_file, 8))
    grid, out = read_grid(grid_file), tmp_path / "out"
    (first, *_) = run_grid(grid, out)
    path = first.folder / "result.json"
    document = json.loads(path.read_text())
    del document["result"]["tokens"]
    path.write_bytes(canonical.seal(document))
    with pytest.raises(TrainError, match=r"result\.json: was written by another version of amix"):
        run_grid(grid, out)


def test_a_run_older_than_an_option_counts_where_the_option_is_not_used(
    grid_file: Path, tmp_path: Path
) -> None:
    grid_file.write_text(with_samples(grid_file, 8))
    grid, out = read_grid(grid_file), tmp_path / "out"
    (first, *_) = done = run_grid(grid, out)
    path = first.folder / "result.json"
    document = json.loads(path.read_text())
    del document["identity"]["span_share"]
    path.write_bytes(canonical.seal(document))
    again = run_grid(grid, out)
    assert [each.result.seconds for each in again] == [each.result.seconds for each in done]

    grid_file.write_text(grid_file.read_text().replace("options: {lr", "options: {span_share: 0.3, lr"))
    with pytest.raises(TrainError, match=r"span_share was 0\.1, is 0\.3"):
        run_grid(read_grid(grid_file), out)


def test_jobs_change_nothing(grid_file: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    grid = read_grid(grid_file)
    one, two = (run_grid(grid, tmp_path / str(jobs), jobs=jobs) for jobs in (1, 2))
    for each, other in zip(one, two, strict=True):
        assert each.cell == other.cell
        assert each.result.eval.keys() == other.result.eval.keys() == {"test"}
        for name, metrics in each.result.eval.items():
            assert metrics == pytest.approx(other.result.eval[name], abs=1e-4)
    for row, other_row in zip(summarise(grid, one), summarise(grid, two), strict=True):
        assert row.values["nll"] == pytest.approx(other_row.values["nll"], abs=1e-4)


@contextlib.contextmanager
def comparing(grid_file: Path, out: Path, jobs: int) -> "Iterator[subprocess.Popen[str]]":
    """A comparison in a process group of its own that has finished a run, and not all of them."""
    start = [sys.executable, "-m", "amix", "compare", str(grid_file), str(out), "--jobs", str(jobs)]
    with started(start, env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True) as child:
        limit = time.monotonic() + 120
        while (
            child.poll() is None
            and not list(out.glob("runs/*/*/*/seed-*/result.json"))
            and time.monotonic() < limit
        ):
            time.sleep(0.01)
        assert child.poll() is None, child.stderr and child.stderr.read()
        yield child


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (None, 0)])
def test_a_comparison_ends_in_order(
    grid_file: Path, tmp_path: Path, number: signal.Signals | None, code: int
) -> None:
    out = tmp_path / "out"
    with comparing(grid_file, out, jobs=2) as child:
        if number is signal.SIGINT:
            os.killpg(child.pid, number)  # as a terminal does
        elif number is not None:
            child.send_signal(number)
        said = child.communicate(timeout=120)[1]
    assert child.returncode == code, said
    assert "Traceback" not in said
    assert "leaked" not in said  # semaphores, of which Python complains
    assert ("Finished runs are kept: run the same command again to go on." in said) == (number is not None)


def test_a_comparison_that_is_killed_goes_on(grid_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with comparing(grid_file, out, jobs=1) as child:
        beside = amix("compare", grid_file, out)
        assert beside.exit_code == 1
        assert f"{out}: another process is running a comparison there" in beside.stderr
        child.kill()  # its workers end with it: what they write would be in the next call's way
        child.communicate()
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("seed-*/result.json")}
    assert 0 < len(kept) < 10
    assert len(run_grid(read_grid(grid_file), out)) == 10
    assert all(path.stat().st_mtime_ns == then for path, then in kept.items())
    assert not list(out.rglob(".*.run"))


@pytest.mark.parametrize(
    ("becomes", "message"),
    [
        ('attentionmix 0.1: {head: "7.7"}', "reviews, attentionmix 0.1: head '7.7': .* does not hold it"),
        ("tmix: {layers: '1,9'}", "reviews, tmix: .*options 'layers' and 'level' go from 0"),
        ("attentionmix: {level: hidden:9}", "reviews, attentionmix: .* has 2 layers"),
        ("ssmix: {batch_size: 1}", "reviews, ssmix: batch_size 1, .* has no other row to be mixed with"),
        ("none cuda: {device: cuda:9}", "reviews, none cuda: device is 'cuda:9'"),
    ],
)
def test_every_run_is_checked_before_the_first_one_starts(
    becomes: str, message: str, grid_file: Path, tmp_path: Path
) -> None:
    grid_file.write_text(
        grid_file.read_text().replace('attentionmix 0.1: {head: "0.1", seeds: [1]}', becomes)
    )
    with pytest.raises(AmixError, match=f"{message}.* No run was started"):
        run_grid(read_grid(grid_file), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_holds_for_every_method_is_said_once(
    reviews: Path, held_out: Path, tiny_bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done = amix("compare", reviews, tmp_path / "out", "--model", tiny_bert, "--eval", held_out, "--dev", reviews,
                "--seeds", 1, "--samples", 8, "--epochs", 1, "--p", "auto", "--batch-size", 100,
                "--methods", "none,wordmixup,tmix,attentionmix", "--jobs", 1, "--level", "hidden:9")  # fmt: skip
    assert "No run was started" in done.stderr
    assert caplog.text.count("takes all 8 training texts at once") == 1
    assert caplog.text.count("--dev names the texts that are trained on.") == 1
    assert done.stderr.count("wordmixup, tmix, attentionmix: Note: --p auto mixes nothing") == 1


def test_what_a_set_holds_is_checked_before_the_first_run(
    grid_file: Path, make_shards: Any, tmp_path: Path
) -> None:
    other = make_shards([{"text": "a film", "label": "odd"}, {"text": "a play", "label": "even"}])
    grid_file.write_text(re.sub("eval: {test: .*?}", f"eval: {{test: {other}}}", grid_file.read_text()))
    with pytest.raises(
        TrainError, match="has the class 'even', 'odd', which the training shards do not have"
    ):
        run_grid(read_grid(grid_file), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def damage_relevance(shards: Path) -> None:
    """Change the relevance of a text that is neither the shortest nor the longest, in every head."""
    row = int(np.argsort(RelevanceDataset(shards, head=None).lengths())[20])
    (path,) = shards.glob("*.tar")
    with tarfile.open(path) as tar:
        member = tar.getmember(f"{row:012}.relevance.npy")
    with path.open("r+b") as file:
        for place in range(member.offset_data + 128, member.offset_data + member.size):
            file.seek(place)
            byte = file.read(1)
            file.seek(place)
            file.write(bytes([byte[0] ^ 1]))


def test_a_run_that_fails_does_not_end_the_others(grid_file: Path, reviews: Path, tmp_path: Path) -> None:
    train, out = tmp_path / "train", tmp_path / "out"
    shutil.copytree(reviews, train)
    damage_relevance(train)
    text = with_samples(grid_file, 40).replace(f"train: {reviews}", f"train: {train}")
    grid_file.write_text(text.replace(", seeds: [1]", ""))
    done = amix("compare", grid_file, out)
    assert done.exit_code == 1
    assert "2 of 6 runs failed; the others are finished and kept:" in done.stderr
    assert "  runs/reviews/40/attentionmix_0.1/seed-00: " in done.stderr
    assert "to repeat these alone" in done.stderr
    assert len(list(out.rglob("result.json"))) == 4
    assert "| wordmixup | 2 |" in (out / "table.md").read_text()
    assert [row.method for row in Comparison.read(out).rows] == ["none", "wordmixup"]


def test_a_worker_that_is_killed_takes_its_run_alone(grid_file: Path, tmp_path: Path) -> None:
    # The run that is killed takes so long that it cannot end together with the first one.
    text = with_samples(grid_file, 8).replace("{alpha: 0.5}", "{alpha: 0.5, epochs: 300, seeds: [0]}")
    grid_file.write_text(text.replace("seeds: 2", "seeds: 3"))
    killed: list[Any] = []  # processes

    def kill(_: Outcome) -> None:
        if not killed:
            killed.extend(multiprocessing.active_children())
            for worker in killed:
                worker.kill()
                worker.join()

    with pytest.raises(
        FailedRunsError, match=r"1 of 5 runs failed(.|\n)*process died \(exit code -9;"
    ) as failed:
        run_grid(read_grid(grid_file), tmp_path / "out", jobs=2, on_outcome=kill)
    assert len(killed) == 2  # one trained, one had just finished
    assert len(failed.value.finished) == 4


def test_a_method_that_there_is_not_is_refused_with_the_nearest(reviews: Path, tmp_path: Path) -> None:
    done = amix(
        "compare", reviews, tmp_path / "out", "--model", "m", "--methods", "none,atentionmix", "--eval", "x"
    )
    assert done.exit_code == 2
    assert (
        "no method 'atentionmix'. Did you mean 'attentionmix'? The methods are: none, wordmixup"
        in done.stderr
    )


@pytest.mark.parametrize(
    ("cores", "memory", "jobs"),
    [(2, None, 2), (16, 10_000_000_000, 8), (16, 100_000_000_000, 16), (4, 500_000_000, 1)],
)
def test_as_many_runs_as_cores_and_memory_allow(cores: int, memory: int | None, jobs: int) -> None:
    assert sensible_jobs(cores, memory, 1_000_000_000) == jobs


def some_logits(rng: np.random.Generator, texts: int, classes: int) -> tuple[Any, Any]:
    return rng.normal(size=(texts, classes)) * 3, rng.integers(0, classes, texts)


@pytest.mark.parametrize("multi_label", [False, True])
def test_weighted_metrics_are_those_of_the_repeated_texts(multi_label: bool) -> None:
    rng = np.random.default_rng(0)
    logits, truth = some_logits(rng, 40, 3)
    if multi_label:
        truth = (rng.random((40, 3)) < 0.4).astype(float)
    metrics = weighted_metrics(logits, truth, multi_label=multi_label)
    (weights,) = resampled_texts(40, 5, rng)
    for row, counts in enumerate(weights):
        again = np.repeat(np.arange(40), counts.astype(int))
        expected = {
            **calibration(logits[again], truth[again], multi_label=multi_label),
            **report(logits[again], truth[again], multi_label=multi_label),
        }
        for name, metric in metrics.items():
            assert metric(weights)[row] == pytest.approx(expected[name], abs=1e-12), name


def test_resamples_are_the_same_however_many_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = [weighted_metrics(*some_logits(np.random.default_rng(seed), 40, 3)) for seed in range(2)]
    whole = resampled_metrics(metrics, 40, 100, np.random.default_rng(0))
    monkeypatch.setattr(statistics, "_HELD", 40 * 7)
    again = resampled_metrics(metrics, 40, 100, np.random.default_rng(0))
    for metric, found, expected in zip(metrics, again, whole, strict=True):
        for name, values in expected.items():
            assert values.shape == (101,)
            assert values[0] == metric[name](np.ones((1, 40)))[0]  # the texts themselves
            assert np.allclose(found[name], values, atol=1e-12)


def halves(drawn: list[dict[str, Any]], metric: str) -> tuple[list[Any], list[Any]]:
    """What `resampled_metrics` returns of a method and then of a baseline."""
    values = [each[metric] for each in drawn]
    return values[: len(values) // 2], values[len(values) // 2 :]


def test_an_interval_covers_what_it_is_about() -> None:
    # Two models that are right with probability 0.6 and 0.7, and seeds that differ: 95 of 100 intervals hold 0.1.
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(100):
        difficulty = rng.random(150)
        method: list[dict[str, Any]] = []
        baseline: list[dict[str, Any]] = []
        for _ in range(8):
            shift = rng.normal(0, 0.02)
            for rate, found in ((0.7 + shift, method), (0.6, baseline)):
                right = difficulty < rate + rng.normal(0, 0.05, 150)
                found.append({"accuracy": lambda weights, right=right: weights @ right / weights.sum(axis=1)})
        drawn = resampled_metrics(method + baseline, 150, 400, rng)
        difference = paired_difference(*halves(drawn, "accuracy"), rng)
        held += difference.low <= 0.1 <= difference.high
    assert 88 <= held <= 100


def test_an_interval_of_calibration_errors_covers_too() -> None:
    # A calibrated classifier against one that is three times as sure. ECE of few texts is larger than that of many.
    rng = np.random.default_rng(2)

    def drawn(texts: int) -> tuple[Any, Any]:
        logits = rng.normal(0, 1.5, texts)
        return logits, (rng.random(texts) > 1 / (1 + np.exp(-logits))).astype(int)

    def ece(logits: Any, truth: Any, sharper: float) -> Any:
        seen = logits + rng.normal(0, 0.3, len(logits))  # what a seed changes; the texts are the same for all
        return weighted_metrics(np.stack([seen * sharper, np.zeros(len(logits))], axis=1), truth)["ece"]

    everything, whole = drawn(200_000), np.ones((1, 200_000))
    truth = float((ece(*everything, 1.0)(whole) - ece(*everything, 3.0)(whole))[0])
    held = {True: 0, False: 0}
    for _ in range(40):
        texts = drawn(400)
        both = [{"ece": ece(*texts, sharper)} for sharper in (1.0, 3.0) for _ in range(6)]
        sides = halves(resampled_metrics(both, 400, 300, rng), "ece")
        for biased in held:
            found = paired_difference(*sides, np.random.default_rng(0), biased=biased)
            held[biased] += found.low <= truth <= found.high
    assert held[True] >= 32
    assert held[False] < 20


def test_sets_stand_in_the_order_of_the_grid_also_where_runs_are_kept(
    grid_file: Path, tmp_path: Path
) -> None:
    text = with_samples(grid_file, 8)
    grid_file.write_text(re.sub(r"eval: {test: (\S+)}}", r"eval: {test: \1, another: \1}}", text))
    grid = read_grid(grid_file)
    for _ in range(2):
        rows = summarise(grid, run_grid(grid, tmp_path / "out"))
        assert list(dict.fromkeys(row.evaluated for row in rows)) == ["test", "another"]


def test_a_table_says_where_nothing_was_mixed(grid_file: Path, tmp_path: Path) -> None:
    grid_file.write_text(with_samples(grid_file, 16))  # p auto begins at 0, and one epoch is all there is
    grid, out = read_grid(grid_file), tmp_path / "out"
    done = amix("compare", grid_file, out)
    (line,) = [line for line in done.stdout.splitlines() if "mixed nothing" in line]
    assert line.startswith("attentionmix 0.1: p auto mixed nothing in 1 of 1 run,")
    found = {row.method: row.largest_p for row in summarise(grid, run_grid(grid, out))}
    assert found == {"none": [None, None], "wordmixup": [None, None], "attentionmix 0.1": [0.0]}
    lines = csv.DictReader((out / "runs.csv").read_text().splitlines())
    assert {(each["method"], each["largest_p"]) for each in lines} == {
        ("none", ""), ("wordmixup", ""), ("attentionmix 0.1", "0.0")
    }  # fmt: skip


def test_labels_that_are_wrong_on_purpose_show_everywhere(grid_file: Path, tmp_path: Path) -> None:
    text = with_samples(grid_file, 16).replace("alpha: 0.5", "alpha: 0.5, label_noise: 0.5")
    grid_file.write_text(text)
    grid, out = read_grid(grid_file), tmp_path / "out"
    done = amix("compare", grid_file, out)
    found = {row.method: row.changed_labels for row in summarise(grid, run_grid(grid, out))}
    changed = found.pop("wordmixup")
    assert all(each is not None and 0 < each < 16 for each in changed)
    assert found == {"none": [None, None], "attentionmix 0.1": [None]}
    mean = np.mean([each for each in changed if each is not None])
    note = f"Training labels that were wrong on purpose, mean over runs: wordmixup {mean:.1f}."
    assert note in done.stdout
    assert note in (out / "report.html").read_text()
    lines = csv.DictReader((out / "runs.csv").read_text().splitlines())
    assert [each["changed_labels"] for each in lines if each["method"] == "wordmixup"] == [*map(str, changed)]
    assert [*Comparison.read(out).rows[1].changed_labels] == [*changed]
    run = report_page(out / "runs" / "reviews" / "16" / "wordmixup" / "seed-00")
    assert "An experiment: 50\u00a0% of its training labels were wrong on purpose." in run


@given(st.integers(1, 12), st.integers(2, 3), st.booleans(), st.integers(0, 99))
def test_the_area_of_repeated_texts_counts_equal_confidences_as_equal(
    texts: int, classes: int, multi_label: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    logits, truth = rng.integers(-1, 2, (texts, classes)).astype(float), rng.integers(0, classes, texts)
    if multi_label:
        truth = rng.integers(0, 2, (texts, classes)).astype(float)
    metric = weighted_metrics(logits, truth, multi_label=multi_label)["aurc"]
    (weights,) = resampled_texts(texts, 4, rng)
    for counts, found in zip(weights, metric(weights), strict=True):
        again = np.repeat(np.arange(texts), counts.astype(int))
        expected = calibration(logits[again], truth[again], multi_label=multi_label)["aurc"]
        assert found == pytest.approx(expected, abs=1e-12)


def test_a_bar_in_a_label_breaks_no_table(grid_file: Path, tmp_path: Path) -> None:
    text = with_samples(grid_file, 8)
    grid_file.write_text(text.replace("attentionmix 0.1: {head: ", "attentionmix 0.0|0.1: {head: "))
    grid = read_grid(grid_file)
    rows = summarise(grid, run_grid(grid, tmp_path / "out"))
    table = [line for line in markdown(rows) if line.startswith("| ")]
    (line,) = {line for line in table if "0.0" in line and line.count("±") == 0 and " [" not in line}
    assert line.startswith("| attentionmix 0.0\\|0.1 | 1 |")


def test_sign_flips_equal_counting() -> None:
    rng = np.random.default_rng(0)
    differences = rng.normal(0.3, 1, 10)
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
            for signs in itertools.product((1, -1), repeat=10)]  # fmt: skip
    expected = np.mean([each >= abs(differences.sum()) - 1e-12 for each in sums])
    assert sign_flip_p(differences, rng) == pytest.approx(expected)
    assert sign_flip_p(np.ones(10), rng) == 2 / 2**10
    assert sign_flip_p(np.zeros(10), rng) == 1.0
    assert sign_flip_p(rng.normal(0.3, 1, 20) + 5, rng) < 0.001


@given(st.dictionaries(st.integers(), st.floats(0, 1), max_size=8))
def test_holm_is_never_below_and_keeps_the_order(p_values: dict[int, float]) -> None:
    corrected = holm(p_values)
    assert corrected.keys() == p_values.keys()
    for key, p in p_values.items():
        assert p <= corrected[key] <= 1.0
        assert (
            corrected[key] <= len(p_values) * p
            or corrected[key] == 1.0
            or any(
                p_values[other] <= p and corrected[key] >= corrected[other]
                for other in p_values
                if other != key
            )
        )
    ranked = sorted(p_values, key=lambda key: p_values[key])
    for one, next_ in itertools.pairwise(ranked):
        assert corrected[one] <= corrected[next_]


def test_holm_by_hand() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
