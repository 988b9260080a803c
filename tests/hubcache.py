"""What the Hub's library finds on disk where there is no network."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def offline(model: Path, hub: Path, code: str, model_id: str = "who/what", where: Path | None = None) -> str:
    """Run Python where the folder `model` is in the Hub's cache as `model_id` at COMMIT; return what it prints.

    where: the folder to run it in.
    """
    cached = hub / f"models--{model_id.replace('/', '--')}"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(COMMIT)
    shutil.copytree(model, cached / "snapshots" / COMMIT)
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=where,
        env={**os.environ, "HF_HOME": str(hub), "HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    return said.stdout
