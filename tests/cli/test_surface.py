"""The command's surface: what is there, what help costs, and how errors, Ctrl-C and broken pipes end."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import amix
from amix.cli import COMMANDS, main
from amix.engine.base.errors import AmixError, ConfigError, ShardError

ROOT = Path(__file__).parents[2]
HEAVY = ("numpy", "torch", "transformers", "tokenizers", "datasets", "onnx", "onnxruntime", "webdataset")


def python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        check=False,
    )


@pytest.fixture
def with_command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Put a function in the place of the command `info`, as if amix/cli/info.py ran it."""

    def put(function: Callable[[], object]) -> None:
        module = type(sys)("amix.cli.info")
        module.command = click.command("info")(lambda: function())  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "amix.cli.info", module)

    return put


def failing(error: BaseException) -> Callable[[], object]:
    def run() -> object:
        raise error

    return run


def test_help_lists_every_command_with_its_line_and_exits_0() -> None:
    done = CliRunner().invoke(main, ["--help"], terminal_width=200, max_content_width=200)
    assert done.exit_code == 0
    listed = done.stdout.partition("Commands:\n")[2].splitlines()
    assert dict(line.split(maxsplit=1) for line in listed) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_every_command_has_help_that_is_shown(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    shown = " ".join(CliRunner().invoke(main, [name, "--help"], max_content_width=200).stdout.split())
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert option.help, f"{name} {option.opts[0]} has no help"
            assert max(option.opts, key=len) in shown
            assert " ".join(option.help.split()) in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    done = CliRunner().invoke(main, [name, "--help"], prog_name="amix")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"Usage: amix {name}")
    assert "--debug" in done.stdout


def test_help_imports_nothing_heavy() -> None:
    every = [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]
    done = python(
        "import contextlib, sys\n"
        "from amix.cli import main\n"
        f"for arguments in {every!r}:\n"
        "    with contextlib.suppress(SystemExit): main(arguments, prog_name='amix')\n"
        f"    print('loaded by', *arguments, ':', *(name for name in {HEAVY!r} if name in sys.modules))\n"
    )
    assert done.returncode == 0, done.stderr
    told = [
        line.removeprefix("loaded by ") for line in done.stdout.splitlines() if line.startswith("loaded by")
    ]
    assert told == [f"{' '.join(arguments)} :" for arguments in every]


@pytest.mark.parametrize(("given", "seen"), [(None, "PASSIVE"), ("active", "active")])
def test_threads_that_wait_sleep_unless_the_user_says_otherwise(
    given: str | None, seen: str, with_command: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", given or "")
    if given is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    with_command(lambda: click.echo(os.environ["OMP_WAIT_POLICY"]))
    assert CliRunner().invoke(main, ["info"]).stdout == f"{seen}\n"


def test_version() -> None:
    done = CliRunner().invoke(main, ["--version"])
    assert done.stdout == f"amix {amix.__version__}\n"


def test_python_dash_m_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "amix", "--version"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == f"amix {amix.__version__}\n"


def test_an_unknown_command_names_the_nearest() -> None:
    done = CliRunner().invoke(main, ["exports"])
    assert done.exit_code == 2
    assert "No such command 'exports'. Did you mean 'export'?" in done.stderr
    assert done.stdout == ""


def test_a_command_unlike_any_lists_those_there_are() -> None:
    done = CliRunner().invoke(main, ["zzzzzz"])
    assert done.exit_code == 2
    assert set(COMMANDS) <= set(re.findall(r"\w+", done.stderr))


@pytest.mark.parametrize(("kind", "code"), [(AmixError, 1), (ShardError, 1), (ConfigError, 2)])
def test_an_error_is_a_sentence_on_stderr_with_its_exit_code(
    with_command: Callable[..., None], kind: type[AmixError], code: int
) -> None:
    with_command(failing(kind("shards/: nothing there. Run 'amix precompute'.")))
    done = CliRunner().invoke(main, ["info"])
    assert done.exit_code == code
    assert done.stderr == "Error: shards/: nothing there. Run 'amix precompute'.\n"
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [["--debug", "info"], ["info", "--debug"]])
def test_debug_shows_the_traceback_on_either_side_of_the_command(
    with_command: Callable[..., None], arguments: list[str]
) -> None:
    with_command(failing(ShardError("cut short.")))
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1
    assert done.stderr.startswith("Traceback (most recent call last)")
    assert done.stderr.endswith("Error: cut short.\n")


def test_an_unforeseen_error_is_a_sentence_that_points_to_debug(with_command: Callable[..., None]) -> None:
    with_command(failing(KeyError("heads")))
    done = CliRunner().invoke(main, ["info"])
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: unexpected KeyError: 'heads'.")
    assert "--debug" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_of_the_system_is_shown_as_it_is(with_command: Callable[..., None], tmp_path: Path) -> None:
    with_command(lambda: (tmp_path / "absent").read_text())
    done = CliRunner().invoke(main, ["info"])
    assert done.exit_code == 1
    assert "No such file or directory" in done.stderr
    assert "unexpected" not in done.stderr


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_ctrl_c_ends_with_130(with_command: Callable[..., None], error: BaseException) -> None:
    with_command(failing(error))
    done = CliRunner().invoke(main, ["info"])
    assert done.exit_code == 130
    assert done.stderr == "Interrupted. The same command begins anew.\n"


def test_a_reader_that_goes_away_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "amix", "--help"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        process.wait()
        assert process.stderr.read() == ""


def test_a_reader_that_goes_away_while_a_command_prints_is_no_error() -> None:
    code = (
        "import sys, click\n"
        "from amix.cli import main\n"
        "module = type(sys)('amix.cli.info')\n"
        "module.command = click.command('info')(lambda: [click.echo('x' * 999) for _ in range(9999)])\n"
        "sys.modules['amix.cli.info'] = module\n"
        "main(['info'], prog_name='amix')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""


def test_a_broken_pipe_to_a_worker_is_an_error() -> None:
    code = (
        "import sys, click\n"
        "from amix.cli import main\n"
        "module = type(sys)('amix.cli.info')\n"
        "def run(): raise BrokenPipeError(32, 'Broken pipe')\n"
        "module.command = click.command('info')(run)\n"
        "sys.modules['amix.cli.info'] = module\n"
        "main(['info'], prog_name='amix')\n"
    )
    done = python(code)
    assert done.returncode == 1
    assert "Broken pipe" in done.stderr


@pytest.mark.parametrize(("no_color", "styled"), [("", True), ("1", False)])
def test_no_color_is_honoured(
    with_command: Callable[..., None], monkeypatch: pytest.MonkeyPatch, no_color: str, styled: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    with_command(lambda: click.secho("loud", fg="red"))
    # The runner's stdout is no terminal, where click drops colour by itself; color=True stands for one.
    done = CliRunner().invoke(main, ["info"], color=True)
    assert ("\x1b[" in done.stdout) is styled


@pytest.mark.parametrize(("given", "found"), [(None, "error"), ("debug", "debug")])
def test_attempts_to_reach_the_hub_are_told_only_to_who_asks(
    monkeypatch: pytest.MonkeyPatch, given: str | None, found: str
) -> None:
    monkeypatch.setenv("HF_HUB_VERBOSITY", given or "")
    if given is None:
        monkeypatch.delenv("HF_HUB_VERBOSITY")
    assert CliRunner().invoke(main, ["--version"]).exit_code == 0
    assert os.environ["HF_HUB_VERBOSITY"] == found
