"""Every command that writes tries its place before the work."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from amix.cli import main

# {no} stands for something that is not there: a command that looked at it first would say so.
COMMANDS = {
    "export": "export {no} {out}",
    "precompute": "precompute {no}.jsonl {out} --extractor {no}",
    "train": "train {no} {out} --model {no}",
    "compare": "compare {shards} {out} --model {no} --methods none --seeds 1 --dev {shards} --eval {shards}",
    "fit": "fit {no}.csv {out} --model {no}",
    "select": "select {no} {out} --model {no}",
    "analyse": "analyse {no} {out}",
    "repack": "repack {shards} {out}",
    "label": "label {no} {shards} {out}",
    "report": "report {no} {out}.html",
    "inspect": "inspect {no} --html {out}.html",
    "demo": "demo {out} --model {no}",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_place_that_cannot_be_written_is_told_first(name: str, reviews: Path, tmp_path: Path) -> None:
    places = {"no": tmp_path / "absent", "out": "/proc/out", "shards": reviews}
    words = [word.format(**places) for word in COMMANDS[name].split()]
    done = CliRunner().invoke(main, words)
    assert done.exit_code in (1, 2)
    assert "/proc" in done.stderr and ": cannot be written" in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


def test_an_export_fills_a_link_to_a_folder(tiny_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    done = CliRunner().invoke(
        main, ["export", str(tiny_bert), str(tmp_path / "link"), "--layers", "0", "--format", "torchscript"]
    )
    assert done.exit_code == 0, done.output
    assert (tmp_path / "disk" / "extractor.json").is_file()
    assert (tmp_path / "link").is_symlink()
