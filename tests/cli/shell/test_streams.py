"""Streams that are closed, that nobody reads, or that cannot hold what is written: none of them stops a command."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from amix.cli import main, output
from tests.loaders.forge import forge

NAMES = ("\u05d0", "\U0001f600", "\x85")  # in neither cp1252 nor ASCII, and of three lengths as escapes


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six texts of three classes."""
    return forge(tmp_path_factory.mktemp("streams") / "cache", [5] * 6, names=NAMES)


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    line = line.replace("amix", f"{sys.executable} -m amix", 1)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.run(
        ["sh", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_stop_nothing(cache: Path, closed: str) -> None:
    done = shell(f"amix verify . {closed}", cache)
    assert done.returncode == 0, done.stderr
    assert not done.stderr or "2>&-" not in closed


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    code = (
        "import os; from amix.cli.shell.streams import open_streams; open_streams(); "
        "file = open('data', 'wb'); os.write(2, b'a warning of a C library'); file.write(b'data')"
    )
    shell(f'amix; {sys.executable} -c "{code}" 2>&- >&-', tmp_path)
    assert (tmp_path / "data").read_bytes() == b"data"


def test_stderr_that_nobody_reads_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sys, "stderr", Broken())
    output.notice("3 rows could not be used.")


class Kept(io.BytesIO):
    """Bytes that stay when the stream around them is closed."""

    def close(self) -> None:
        pass


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1", "utf-8"])
def test_a_narrow_stdout_gets_escapes_and_valid_json(
    cache: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    def said(*arguments: str) -> str:
        raw = Kept()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, write_through=True))
            main.main(["info", str(cache), *arguments], prog_name="amix", standalone_mode=False)
        return raw.getvalue().decode("utf-8" if encoding == "ascii" else encoding)

    assert "samples" in said()
    found: dict[str, Any] = json.loads(said("--json").splitlines()[-1])
    assert tuple(found["classes"]) == NAMES


def test_a_path_in_latin_1_is_shown_or_refused_before_the_work(
    cache: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    odd = os.fsdecode(b"sch\xf6n")
    (tmp_path / odd).symlink_to(cache)
    assert shell(f"amix info '{odd}' --json", tmp_path).returncode == 0
    done = CliRunner().invoke(main, ["export", str(tiny_bert), str(tmp_path / f"{odd}-extractor")])
    assert done.exit_code == 2
    assert "the path is not valid UTF-8" in done.stderr
