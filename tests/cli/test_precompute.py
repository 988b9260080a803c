"""`amix precompute`, as a user types it and as a program reads it."""

import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click
import pytest
from click.testing import CliRunner, Result

from amix.cli import main
from amix.cli.precompute import command
from amix.engine.extractor.folder import Backend

Built = tuple[Path, Result]  # a folder, and what the run that filled it said
UNIT_KEYS = {"unit", "rows", "samples", "tokens", "computed_tokens", "rejects", "stages", "peak_bytes"}


def amix(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_extractor: Path,
    review_rows: list[dict[str, Any]],
    write_jsonl: Callable[..., Path],
) -> Built:
    """A folder with train.jsonl and its shards, three units; and what the run said."""
    folder = tmp_path_factory.mktemp("cli")
    rows = [*review_rows[:20], {"text": "", "label": 0}, {"text": "film " * 100, "label": 1}]
    corpus = write_jsonl(folder / "train.jsonl", rows)
    given = ("--extractor", tiny_extractor, "--workers", 1, "--samples-per-shard", 8, "--max-length", 500)
    done = amix("precompute", corpus, folder / "shards", *given, "--json")
    assert done.exit_code == 0, done.output
    return folder, done


@pytest.fixture
def begun(built: Built, tmp_path: Path) -> Path:
    """A copy of the folder in which the last of the three units is still to do."""
    folder = shutil.copytree(built[0], tmp_path / "begun")
    for name in ("manifest.json", "shard-00000002.json"):
        (folder / "shards" / name).unlink()
    return folder


def test_the_last_line_is_the_result(built: Built) -> None:
    folder, done = built
    last = lines(done.stdout)[-1]
    assert (last["samples"], last["shards"], last["rejects"], last["truncated"]) == (21, 3, 1, 1)
    assert last["classes"] == ["0", "1"]
    assert last["shards_folder"] == str(folder / "shards")
    assert (folder / "shards" / "manifest.json").is_file()
    run = last["run"]
    assert (run["units"], run["rows"], run["samples"], run["tokens"]) == (3, 22, 21, last["tokens"])
    assert run["padding_share"] == pytest.approx(last["computed_tokens"] / last["tokens"] - 1)
    assert set(run["stages"]) == {"tokenize", "session", "store"}
    assert 0 < run["session_busy_share"] <= 1
    assert 0 < run["worker_busy_share"] <= 1
    assert run["peak_bytes"] > 1_000_000


def test_events_tell_each_unit_as_it_is_published(built: Built) -> None:
    _, done = built
    start, *units, last = lines(done.stdout)
    assert (start["event"], start["rows_done"], last["event"]) == ("start", 0, "done")
    assert (start["rows"], start["workers"]) == (22, 1)  # the pass over the labels counted them
    assert [each["event"] for each in units] == ["unit"] * 3
    assert all(each.keys() >= UNIT_KEYS for each in units)
    assert sorted(each["unit"] for each in units) == [0, 1, 2]
    assert sum(each["tokens"] for each in units) == last["tokens"]
    assert [row for each in units for row, _ in each["rejects"]] == [20]


def test_notices_go_to_stderr_and_no_bar_where_it_is_no_terminal(built: Built) -> None:
    _, done = built
    assert "rejects.jsonl" in done.stderr
    assert "1 row could not be used" in done.stderr
    assert "1 text was longer than 64 tokens, and cut there" in done.stderr
    assert "--max-length 500: the encoder takes at most 64 tokens" in done.stderr
    assert "texts/s" not in done.stderr


def test_the_files_that_were_read_and_the_reasons_of_rejects_are_told(built: Built) -> None:
    folder, done = built
    assert "reading train.jsonl: 22 rows\n" in done.stderr
    assert f"1 row could not be used; {folder / 'shards' / 'rejects.jsonl'} lists them" in done.stderr
    assert "  1 x text is empty (first: row 20)\n" in done.stderr
    assert lines(done.stdout)[-1]["files"] == {"train.jsonl": 22}
    manifest = json.loads((folder / "shards" / "manifest.json").read_bytes())
    assert manifest["files"] == [{"name": "train.jsonl", "rows": 22}]
    assert "train.jsonl" not in json.dumps(manifest["plan"])  # another name makes no other cache


def test_a_corpus_in_another_encoding_says_what_to_do(tmp_path: Path, tiny_extractor: Path) -> None:
    corpus = tmp_path / "reviews.csv"
    rows = ["a film,good", "no fun,bad", "un film délicieux,good", "très ennuyeux,bad"] * 4
    corpus.write_bytes("\n".join(["text;label", *(row.replace(",", ";") for row in rows)]).encode("cp1252"))
    given = ("precompute", corpus, tmp_path / "out", "--extractor", tiny_extractor, "--workers", 1)
    done = amix(*given, "--max-rejects", "60%")
    assert done.exit_code == 0, done.output
    assert "reading reviews.csv: 16 rows, fields between semicolons" in done.stderr
    assert "8 x not UTF-8 (first: row 2, line 4)" in done.stderr
    assert "windows-1252 ('un film délicieux;good')" in done.stderr
    assert "--encoding windows-1252 ('amix precompute' also with --restart)" in done.stderr
    done = amix(*given, "--encoding", "windows-1252")
    assert "was begun with corpus.files.0.encoding = None, now it is cp1252" in done.stderr


@pytest.mark.parametrize("limit", ["few", "%", "x%"])
def test_rejects_are_limited_by_a_number_or_a_share(tmp_path: Path, tiny_extractor: Path, limit: str) -> None:
    done = amix("precompute", "x.csv", tmp_path, "--extractor", tiny_extractor, "--max-rejects", limit)
    assert done.exit_code == 2
    assert "neither a number nor a share such as 2%" in done.stderr


def test_the_same_command_again_computes_nothing(built: Built, tiny_extractor: Path) -> None:
    folder, _ = built
    given = ("--extractor", tiny_extractor, "--max-length", 64, "--samples-per-shard", 8)
    again = amix("precompute", folder / "train.jsonl", folder / "shards", *given)
    assert again.exit_code == 0, again.output
    assert "complete already" in again.stderr
    assert "memory" not in again.stdout
    again = amix("precompute", folder / "train.jsonl", folder / "shards", *given, "--json")
    assert [each["event"] for each in lines(again.stdout)] == ["done"]


def test_a_resumed_run_says_what_it_cost(begun: Path, tiny_extractor: Path) -> None:
    given = ("--extractor", tiny_extractor, "--samples-per-shard", 8)
    done = amix("precompute", begun / "train.jsonl", begun / "shards", *given)
    assert done.exit_code == 0, done.output
    said = dict(line.split(maxsplit=1) for line in done.stdout.replace("left out", "left").splitlines())
    assert said.keys() == {"cache", "texts", "classes", "left", "time"}
    assert said["cache"].startswith(f"{begun / 'shards'} (3 shards, 0.")
    assert re.fullmatch(r"21 rows with [\d,]+ tokens", said["texts"])
    assert said["left"] == "1 row"
    assert re.fullmatch(r"[\d.]+ s \(5 texts in this run, [\d,.]+ tokens/s, 1 worker\)", said["time"])
    assert done.stderr.splitlines()[-1].startswith(f"Next: amix train {begun / 'shards'} RUN --model ")


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_the_bar_goes_on_where_the_last_run_stopped(
    built: Built,
    tmp_path: Path,
    tiny_extractor: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    shards = tmp_path / "shards"
    arguments = ["precompute", built[0] / "train.jsonl", shards, "--extractor", tiny_extractor, "--json"]
    arguments += ["--limit", 99, "--samples-per-shard", 16, "--workers", "auto"]

    def run() -> tuple[str, list[Any]]:
        terminal = Terminal()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", terminal)
            main.main([str(each) for each in arguments], prog_name="amix", standalone_mode=False)
        return terminal.getvalue(), lines(capsys.readouterr().out)

    shown, _ = run()
    for part in ("| 0/22", "| 22/22", "texts/s", "tokens/s=", "rejects=1"):
        assert part in shown
    for name in ("manifest.json", "shard-00000001.json"):
        (shards / name).unlink()
    shown, (start, unit, last) = run()
    assert "| 16/22" in shown
    assert "| 0/22" not in shown
    assert "| 22/22" in shown
    assert (start["units_done"], start["rows_done"], start["rows"]) == (1, 16, 22)
    assert (unit["unit"], unit["rows"]) == (1, 6)
    assert (last["samples"], last["run"]["samples"]) == (21, 5)


def test_many_classes_must_be_meant_and_are_not_all_shown(
    tmp_path: Path, tiny_extractor: Path, write_jsonl: Callable[..., Path]
) -> None:
    rows = [{"text": "a film", "label": f"about {number}"} for number in range(40)]
    corpus = write_jsonl(tmp_path / "ids.jsonl", rows)
    given = ("precompute", corpus, tmp_path / "o", "--extractor", tiny_extractor, "--workers", 1)
    refused = amix(*given)
    assert refused.exit_code == 1
    assert "40 classes in 40 rows" in refused.stderr
    assert "--many-classes" in refused.stderr
    done = amix(*given, "--many-classes")
    assert done.exit_code == 0, done.output
    assert "about 26, and 20 more" in done.stdout
    info = amix("info", tmp_path / "o")
    assert "about 26 1, and 20 more" in info.stdout


def test_info_names_the_columns_of_a_corpus(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("Review;stars\nfine;5\n", encoding="utf-8")
    assert json.loads(amix("info", path, "--json").stdout)["columns"] == ["Review", "stars"]
    assert "columns  Review, stars" in amix("info", path).stdout


def test_numbers_below_zero_can_be_given_as_classes(
    tmp_path: Path,
    tiny_extractor: Path,
    write_jsonl: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = [{"text": "a film", "label": number % 3 - 1} for number in range(6)]
    corpus = write_jsonl(tmp_path / "scale.jsonl", rows)
    given = ("precompute", corpus, tmp_path / "o", "--extractor", tiny_extractor, "--workers", 1)
    assert amix(*given).exit_code == 0
    assert "--labels=-1,0,1" in caplog.text
    done = amix(*given, "--restart", "--labels", "-1,0,1", "--json")
    last = lines(done.stdout)[-1]
    assert (last["samples"], last["classes"]) == (6, ["-1", "0", "1"])
    assert done.stderr == "reading scale.jsonl: 6 rows\n"


def test_label_options_exclude_each_other(tmp_path: Path, tiny_extractor: Path) -> None:
    given = ("--extractor", tiny_extractor, "--no-labels", "--labels", "a,b")
    done = amix("precompute", "x.jsonl", tmp_path / "o", *given)
    assert done.exit_code == 2
    assert "exclude each other" in done.stderr


@pytest.mark.parametrize(
    ("workers", "says"), [("many", "neither a number nor 'auto'"), ("0", "must be at least 1")]
)
def test_workers_are_a_number_or_auto(tmp_path: Path, tiny_extractor: Path, workers: str, says: str) -> None:
    done = amix("precompute", "x.jsonl", tmp_path / "o", "--extractor", tiny_extractor, "--workers", workers)
    assert done.exit_code == 2
    assert says in done.stderr


def test_every_backend_can_be_chosen() -> None:
    option = next(each for each in command.params if each.name == "backend")
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == get_args(Backend)


def test_a_run_that_fails_says_what_it_keeps(
    tmp_path: Path, tiny_extractor: Path, write_jsonl: Callable[..., Path]
) -> None:
    rows = [{"text": "fine" if number < 8 else "", "label": number % 2} for number in range(16)]
    corpus = write_jsonl(tmp_path / "rows.jsonl", rows)
    given = ("--extractor", tiny_extractor, "--workers", 1, "--samples-per-shard", 4, "--max-rejects", 3)
    done = amix("precompute", corpus, tmp_path / "shards", *given)
    assert done.exit_code == 1
    kept, error = done.stderr.splitlines()[-2:]
    assert re.match(rf"{tmp_path / 'shards'}: keeps the \d shards that this run finished.", kept)
    assert "--restart" in kept
    assert "cannot be used" in error


@pytest.mark.parametrize("stray", [".DS_Store", "._shard-00000000.tar", "Thumbs.db"])
def test_what_a_desktop_leaves_in_the_folder_is_in_nobodys_way(
    begun: Path, tiny_extractor: Path, stray: str
) -> None:
    (begun / "shards" / stray).write_bytes(b"x")
    given = ("--extractor", tiny_extractor, "--samples-per-shard", 8)
    done = amix("precompute", begun / "train.jsonl", begun / "shards", *given)
    assert done.exit_code == 0, done.output
    assert amix("verify", begun / "shards").exit_code == 0
    assert (begun / "shards" / stray).exists()


def test_off_a_terminal_a_long_run_tells_how_far_it_is(
    begun: Path, tiny_extractor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amix.cli.watch.SILENCE", 0.0)
    given = ("--extractor", tiny_extractor, "--samples-per-shard", 8)
    done = amix("precompute", begun / "train.jsonl", begun / "shards", *given)
    assert re.search(r"^precompute: 22 of 22 texts, [\d,]+ tokens/s$", done.stderr, re.MULTILINE)
