"""Graphs that are saved where there is no room for them."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

CODE = """
import sys
from pathlib import Path
import torch
from amix.exporters.capture import save
folder, wide = Path(sys.argv[1]), torch.nn.Linear(300, 300)
traced, program = torch.jit.trace(wide, torch.zeros(1, 300)), torch.export.export(wide, (torch.zeros(1, 300),))
writers = {"a.pt": lambda to: torch.jit.save(traced, to), "b.pt2": lambda to: torch.export.save(program, to)}
for name, write in writers.items():
    try:
        save(write, folder / name)
    except OSError as problem:
        print(name, problem.strerror)
        (folder / name).unlink()
"""


def test_a_full_disk_is_an_error_where_torch_alone_would_end_the_process(
    tiny_bert: Path, tmp_path: Path, private_mounts: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    (tmp_path / "small").mkdir()
    script = """
        mount -t tmpfs -o size=48k tmpfs "$AT"; python=$1; code=$2; shift 2
        "$python" -c "$code" "$AT"
        code=0; "$python" -m amix export "$@" "$AT" --format torchscript --layers 0 2>&1 || code=$?
        echo "code $code, left: $(ls -A "$AT")."
    """
    done = private_mounts(script, sys.executable, CODE, tiny_bert, AT=tmp_path / "small")
    lines = done.stdout.splitlines()
    assert lines[:2] == ["a.pt No space left on device", "b.pt2 No space left on device"]
    assert (
        f"{tmp_path / 'small'}: cannot be written: the disk is full. Nothing is left there. Make" in lines[-2]
    )
    assert lines[-1] == "code 1, left: ."
