"""`amix train` as a shell sees it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from amix.cli import main
from amix.cli.train import parse_evals
from amix.engine.base.errors import UsageError
from amix.train.options.config import TrainConfig

FAST = ("--epochs", "1", "--batch-size", "8", "--lr", "3e-3", "--device", "cpu")


def amix(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments])


@pytest.fixture(scope="module")
def shards(
    tiny_extractor: Path, write_jsonl: Any, review_rows: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    from amix.loaders.precompute.run import PrecomputeOptions, precompute

    folder = tmp_path_factory.mktemp("cli")
    source = write_jsonl(folder / "rows.jsonl", review_rows[:24])
    precompute(str(source), folder / "shards", extractor=tiny_extractor, options=PrecomputeOptions(workers=1))
    return folder / "shards"


def test_folds_and_their_ensemble_are_shown(shards: Path, tiny_bert: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = amix("train", shards, run, "--model", tiny_bert, "--dev", "cv:2", "--ensemble", "folds",
                "--eval", f"all={shards}", *FAST)  # fmt: skip
    assert done.exit_code == 0, done.output
    rows = [re.split(r"\s{2,}", line)[0] for line in done.stdout.splitlines()]
    assert rows[:4] == ["set", "dev (cv:2)", "all", "all, ensemble of 3"]
    assert amix("report", run, tmp_path / "page.html").exit_code == 0
    page = (tmp_path / "page.html").read_text()
    assert "all, ensemble" in page
    assert "fitted on the training texts, each by a model that was trained without it" in page

    assert amix("verify", run).exit_code == 0
    weights = run / "ensemble" / "2" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    assert "ensemble/2/model/model.safetensors: cannot be read" in amix("verify", run).stderr

    assert amix("train", shards, run, "--model", tiny_bert, "--ensemble", "2.5").exit_code == 2
    unclear = amix("train", shards, tmp_path / "other", "--model", tiny_bert, "--dev", "cv:one")
    assert "dev is cv:one; cv:K takes a number of folds from 2, such as cv:5." in unclear.stderr


def test_json_is_the_last_line(shards: Path, tiny_bert: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = amix("train", shards, run, "--model", tiny_bert, "--dev", shards, "--eval", shards,
                "--eval", f"again={shards}", *FAST, "--json")  # fmt: skip
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.splitlines()[-1])
    assert result.keys() == {
        "calibration",
        "changed_labels",
        "dev",
        "ensemble",
        "epoch",
        "eval",
        "head",
        "largest_p",
        "model",
        "scaled",
        "seconds",
        "steps",
        "temperature",
        "tokens",
    }
    assert result["eval"].keys() == {"eval", "again"}
    assert result["eval"]["eval"] == result["eval"]["again"] == result["dev"]
    assert result["eval"]["eval"].keys() == {"accuracy", "macro_f1", "nll", "ece"}
    assert (result["epoch"], result["steps"], result["model"]) == (1, 3, str(run / "model"))
    assert len(done.stdout.splitlines()) == 1
    assert result["largest_p"] == 0.0  # in the one epoch
    before, after = (line for line in done.stderr.splitlines() if line.startswith("Note: "))
    assert before.startswith("Note: --p auto mixes nothing in the first epoch, and this run has no other.")
    assert after.startswith("Note: the model that was kept saw nothing mixed, so this is plain fine-tuning.")

    # The saved configuration is one to start from; flags win over it.
    again = amix("train", shards, tmp_path / "second", "--config", run / "config.yaml", "--epochs", 2)
    assert again.exit_code == 0, again.output
    assert "epoch" in again.stdout and "of 2, 6 steps" in again.stdout
    table = [line.split() for line in again.stdout.splitlines()]
    assert table[0] == ["set", "accuracy", "macro_f1", "nll", "ece"]
    assert [row[0] for row in table[1:4]] == ["dev", "eval", "again"]


def test_a_run_that_mixes_from_the_start_is_not_said_to_mix_nothing(
    shards: Path, make_shards: Any, tiny_bert: Path, tmp_path: Path
) -> None:
    """`p learnt` cannot tell when soft labels, or several a text, are known by heart, so it does not wait."""
    several = make_shards([{"text": f"the film is {word}", "label": [1.0, 0.0, 1.0]} for word in "abcdefgh"])
    options = ["--model", tiny_bert, *FAST]
    for name, folder, notes in (("several", several, 0), ("one", shards, 2)):
        done = amix("train", folder, tmp_path / name, *options)
        assert done.exit_code == 0, done.output
        assert done.stderr.count("Note: ") == notes, done.stderr
        compared = tmp_path / f"{name}-compared"
        done = amix(
            "compare", folder, compared, "--methods", "attentionmix", "--seeds", 1, "--eval", folder, *options
        )
        assert done.exit_code == 0, done.output
        assert done.stderr.count("Note: --p learnt mixes nothing in the first epoch") == min(notes, 1)


def test_a_development_set_of_the_training_texts_is_warned_of(
    shards: Path, tiny_bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = ["--model", tiny_bert, "--method", "none", "--epochs", 1, "--batch-size", 4]
    assert amix("train", shards, tmp_path / "run", *options, "--dev", shards).exit_code == 0
    (message,) = [record.getMessage() for record in caplog.records if "--dev" in record.getMessage()]
    assert message.startswith("--dev names the texts that are trained on.")
    caplog.clear()
    assert amix("train", shards, tmp_path / "other", *options, "--dev", 0.5).exit_code == 0
    assert not [record for record in caplog.records if "--dev" in record.getMessage()]


def test_labels_that_were_made_wrong_are_told(shards: Path, tiny_bert: Path, tmp_path: Path) -> None:
    done = amix("train", shards, tmp_path / "run", "--model", tiny_bert, "--method", "none", "--label-noise", 1,
                "--noise-kind", "neighbour", *FAST)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert (
        "Note: 24 of the training labels were wrong on purpose (--label-noise 1, neighbour)." in done.stderr
    )


def test_options_that_a_method_does_not_use_are_ignored_with_a_note(
    shards: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    done = amix("train", shards, tmp_path / "run", "--model", tiny_bert, "--method", "none", "--alpha", 2,
                "--head", "9.9", "--samples", 8, "--subset-seed", 1, *FAST)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "--alpha is not used by --method none; it is ignored." in done.stderr
    assert "--head is not used by --method none" in done.stderr
    assert "samples" not in done.stderr
    assert "1 step," in done.stdout


def test_a_run_writes_down_how_often_it_mixes(shards: Path, tiny_bert: Path, tmp_path: Path) -> None:
    given = {
        "auto": ("--dev", shards),
        "learnt": (),
        1.0: ("--dev", shards, "--preset", "paper"),
        0.7: ("--p", 0.7),
    }
    for p, options in given.items():
        run = tmp_path / str(p)
        done = amix("train", shards, run, "--model", tiny_bert, "--samples", 8, *options, *FAST)
        assert done.exit_code == 0, done.output
        assert yaml.safe_load((run / "config.yaml").read_text())["p"] == p


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--preset", "source"), 2, "'source' is not"),
        (("--level", "deep"), 2, "level is 'deep'; it must be embedding or hidden:K"),
        (("--level", "hidden:3"), 1, "BertForSequenceClassification has 2 layers"),
        (("--method", "tmix", "--layers", "7,9,12"), 1, "options 'layers' and 'level' go from 0"),
        (("--method", "mixup"), 2, "'mixup' is not one of 'none', 'wordmixup', 'sentencemixup'"),
        (("--p", "2"), 2, "p is 2.0; it must be auto, learnt, or a number between 0 and 1"),
        (("--head", "7.7"), 2, "does not hold it"),
        (("--device", "cuda:99"), 1, "cuda:99"),
        (("--config", "nowhere.yaml"), 2, "nowhere.yaml: cannot be read"),
    ],
)
def test_errors_are_one_sentence(
    arguments: tuple[str, ...], code: int, says: str, shards: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    done = amix("train", shards, tmp_path / "run", "--model", tiny_bert, *arguments)
    assert done.exit_code == code, done.output
    assert says in done.stderr
    assert "Traceback" not in done.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        ((), True),  # as the paper's readers try it first
        (("--dev", "0.2", "--p", "0.5"), False),
        (("--method", "wordmixup"), False),
        (("--epochs", "4"), False),
    ],
)
def test_few_epochs_of_p_auto_are_warned_of_beforehand(
    options: tuple[str, ...], warned: bool, shards: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    given = (
        "--dev",
        "0.2",
        "--epochs",
        "2",
        "--samples",
        10,
        "--batch-size",
        "4",
        "--device",
        "cpu",
        *options,
    )
    done = amix("train", shards, tmp_path / "run", "--model", tiny_bert, *given)
    assert done.exit_code == 0, done.output
    assert (
        "rare after so few epochs (2). Train for more (--epochs 10), or give --p 0.5" in done.stderr
    ) == warned


def test_a_model_has_to_be_named(shards: Path, tmp_path: Path) -> None:
    done = amix("train", shards, tmp_path / "run")
    assert done.exit_code == 2
    assert "--model is missing" in done.stderr


def test_help_lists_every_option_with_its_default() -> None:
    text = CliRunner().invoke(main, ["train", "--help"], max_content_width=200).output
    entries = [" ".join(each.split()) for each in re.split(r"\n(?=  -|\n)", text.partition("Data:\n")[2])]
    for name, default in TrainConfig().as_dict().items():
        flag = f"--{name.replace('_', '-')}"
        (entry,) = [each for each in entries if re.match(rf"{flag}\b(?!-)", each)]
        shown = re.search(r"\[default: (.*)\]$", entry)
        assert (shown[1] if shown else None) == (None if default is None else str(default)), flag
    for flag in ("--model", "--dev", "--eval", "--resume", "--config", "--json", "--preset", "--debug"):
        assert [each for each in entries if re.match(rf"{flag}\b(?!-)", each)], flag


def test_names_of_evaluation_sets(tmp_path: Path) -> None:
    assert parse_evals(("shards/a", "test=shards/b")) == [("eval", "shards/a"), ("test", "shards/b")]
    odd = tmp_path / "a=b"
    odd.mkdir()
    assert parse_evals((str(odd),)) == [("eval", str(odd))]
    for values in (("a", "b"), ("x=a", "x=b"), ("=a",), ("x=",)):
        with pytest.raises(UsageError, match="--eval"):
            parse_evals(values)


def test_off_a_terminal_every_epoch_is_a_line(
    shards: Path, tiny_bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done = amix("train", shards, tmp_path / "run", "--model", tiny_bert, "--dev", shards, "--eval", shards,
                "--samples", 8, *FAST, "--epochs", 2, "--resume")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert f"{tmp_path / 'run'}: holds no checkpoint, so training begins with the first epoch." in caplog.text
    assert f"--eval {shards}: --dev selects on the same shards" in caplog.text
    *said, last = done.stderr.splitlines()
    epochs = [line for line in said if line.startswith("epoch")]
    number = r"\d+\.\d+"
    assert len(epochs) == 2
    for count, line in enumerate(epochs, 1):
        dev = rf"dev accuracy {number}, nll {number}, ece {number}"
        assert re.fullmatch(rf"epoch {count} of 2: loss {number}; {dev}; {number} s", line)
    assert last == f"Next: amix report {tmp_path / 'run'}"
    # Nobody named the sets, so the table names their folders; their names in the JSON stay.
    table = [line.split()[:2] for line in done.stdout.splitlines()[1:3]]
    assert table == [["dev", f"({shards})"], ["eval", f"({shards})"]]


def test_compare_and_select_take_the_options_of_training_and_refer_to_them() -> None:
    for name in ("compare", "select"):
        text = " ".join(CliRunner().invoke(main, [name, "--help"]).stdout.split())
        assert "as 'amix train --help' lists them" in text
        assert "--weight-decay" not in text
