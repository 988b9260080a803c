"""The last line on stderr: what comes next, and how to go on after an end that came too early."""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from amix.cli import COMMANDS, main
from amix.cli.shell.steps import interrupted, next_step, said_how_to_go_on
from amix.cli.train import run_goes_on


def amix(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("arguments", "following"),
    [
        (("info", "SHARDS"), "amix train"),
        (("verify", "SHARDS"), "amix train"),
        (("info", "EXTRACTOR"), "amix precompute CORPUS SHARDS --extractor"),
        (("info", "MODEL"), "amix export"),
        (("analyse", "SHARDS", "out"), "open out/analysis.html"),
        (("repack", "SHARDS", "out"), "amix train out"),
        (("push", "SHARDS", "file:///HERE/out"), "amix train file:///"),
        (("select", "SHARDS", "out", "--model", "MODEL"), "amix train"),
    ],
)
def test_the_last_line_names_the_next_command_and_json_has_none(
    arguments: tuple[str, ...],
    following: str,
    reviews: Path,
    tiny_extractor: Path,
    tiny_bert: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    there = {"SHARDS": reviews, "EXTRACTOR": tiny_extractor, "MODEL": tiny_bert}
    given = [there.get(each, each.replace("/HERE", str(tmp_path))) for each in arguments]
    done = amix(*given)
    assert done.exit_code == 0, done.output
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"Next: {following}")
    if following.startswith("amix"):
        name, *_ = shlex.split(last)[2:]
        assert name in COMMANDS
    again = amix(*given, "--json")
    assert again.exit_code == 0, again.output
    assert "Next: " not in again.stderr


def test_a_command_can_be_pasted(capsys: pytest.CaptureFixture[str]) -> None:
    next_step("amix", "train", Path("my shards"), "RUN", "--model", "name/model")
    assert capsys.readouterr().err == "Next: amix train 'my shards' RUN --model name/model\n"


@pytest.mark.parametrize(
    ("end", "name"), [(KeyboardInterrupt(), "Ctrl-C"), (BrokenPipeError(32, ""), "the reader of its output")]
)
def test_how_to_go_on_is_said_once(end: BaseException, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(type(end)), said_how_to_go_on("out: ended by {}.".format):
        raise end
    assert capsys.readouterr().err == f"out: ended by {name}.\n"
    assert interrupted(end) == "Interrupted."
    assert interrupted(KeyboardInterrupt()) == "Interrupted. The same command begins anew."


def test_an_interrupted_run_says_where_it_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert "before anything was written. The same command begins anew." in run_goes_on(run, "Ctrl-C")
    run.mkdir()
    (run / "config.yaml").touch()
    assert "--resume begins anew. --checkpoint-steps N" in run_goes_on(run, "SIGTERM")
    for step in (8, 12):
        (run / f"checkpoint-{step:08d}").mkdir()
    expected = f"{run}: ended by SIGTERM. The same command with --resume goes on after step 12."
    assert run_goes_on(run, "SIGTERM") == expected


@pytest.mark.parametrize(
    ("line", "module", "function"),
    [
        ("precompute CORPUS out --extractor EXTRACTOR", "amix.loaders.precompute.run", "precompute"),
        ("train SHARDS out --model MODEL", "amix.train.run.train", "train"),
        ("repack SHARDS out", "amix.loaders.shards.rewrite.repack", "repack"),
        ("compare SHARDS out --eval SHARDS --model MODEL", "amix.study.compare.runner", "run_grid"),
    ],
)
def test_ctrl_c_says_how_to_go_on_in_every_command_that_can(
    line: str,
    module: str,
    function: str,
    reviews: Path,
    tiny_extractor: Path,
    tiny_bert: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def end(*_: object, **__: object) -> Callable[..., None]:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"{module}.{function}", end)
    monkeypatch.chdir(tmp_path)
    there = {"SHARDS": reviews, "EXTRACTOR": tiny_extractor, "MODEL": tiny_bert, "CORPUS": "rows.jsonl"}
    done = amix(*(there.get(word, word) for word in line.split()))
    assert done.exit_code == 130
    told, last = done.stderr.splitlines()[-2:]
    assert told.startswith("out: ended by Ctrl-C")
    assert "same command" in told
    assert last == "Interrupted."
