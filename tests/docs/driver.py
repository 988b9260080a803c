"""Runs the blocks of pages, each page in a folder of its own, all of them in this one process.

A process that loads PyTorch for every block would take minutes.
"""

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

from tests.docs.blocks import ROOT, Block, blocks_of

_TOOLS = ("head", "ls", "tar")  # beside amix itself, what commands of the pages may use


def run_pages(pages: Sequence[str], workspace: Path, model: Path, out: Path) -> None:
    """Run the blocks of pages; write `{page: [message of each failure]}` to `out`.

    pages: below the repository's root.  workspace: the folder that each page begins with, see `workspace.py`.
    model: an encoder's folder, which stands for the word MODEL.
    """
    failures: dict[str, list[str]] = {}
    for page in pages:
        folder = out.with_name("ran") / page.replace("/", "-")
        shutil.copytree(workspace, folder)
        os.chdir(folder)
        sys.path.insert(0, str(folder))  # a block may import what another one is the file of
        failures[page] = []
        for block in blocks_of(ROOT / page):
            if not block.not_run:
                failures[page] += _failures(block, str(model))
        sys.path.remove(str(folder))
    out.write_text(json.dumps(failures))


def _failures(block: Block, model: str) -> list[str]:
    code = block.code.replace("MODEL", model) if block.language != "python" else block.code
    if block.title:
        Path(block.title).write_text(code, "utf-8")
    said = Path("said.txt")
    try:
        with (
            said.open("w", encoding="utf-8") as file,
            contextlib.redirect_stdout(file),
            contextlib.redirect_stderr(file),
        ):
            match block.language:
                case "python":
                    _run_python(code, f"{block.page}:{block.line}")
                case "sh":
                    for command in commands(code):
                        _run_command(command)
                case "yaml":
                    _read_grid(code)
    except (Exception, SystemExit):  # whatever a block does, the others are run
        return [f"{block.page}:{block.line}\n{traceback.format_exc()}\n{said.read_text('utf-8')[-3000:]}"]
    return []


def commands(code: str) -> list[list[str]]:
    """Return the commands of a block as words, without comments."""
    lines = code.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def _run_python(code: str, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # They are of other blocks, whose memory is freed here.
        warnings.filterwarnings("ignore", category=ResourceWarning)
        exec(compile(code, name, "exec"), {"__name__": "__main__"})


def _run_command(words: list[str]) -> None:
    from amix.cli import main

    if words[0] == "amix":
        if words[1] in ("export", "precompute"):
            # The workspace brought it, or an earlier block made it.
            shutil.rmtree(words[3], ignore_errors=True)
        try:
            main(words[1:], prog_name="amix")
        except SystemExit as end:
            if end.code:
                raise
        return
    assert words[0] in _TOOLS, f"{words[0]} is not run here: say so above the block, <!-- not run: why -->"
    subprocess.run(shlex.join(words).replace("'|'", "|"), shell=True, check=True, stdout=subprocess.DEVNULL)


def _read_grid(code: str) -> None:
    """Have amix read a grid, or a part of one, which is made whole."""
    from amix.study.compare.gridfile import grid_of
    from amix.train.options.file import load_yaml

    path = Path("block.yaml")
    path.write_text(code, "utf-8")
    grid_of({"model": "MODEL", "corpora": {"reviews": "shards/"}, **load_yaml(path)}, path)
