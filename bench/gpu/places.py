"""The folders of a run."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where things are.

    gpu: `data`, `minilm`, `mpnet`, as they came to the machine.  work: extractors and caches, made anew on every
    machine.  out: what is brought back.
    """

    gpu: Path
    work: Path
    out: Path

    @classmethod
    def from_environment(cls, *, smoke: bool) -> Self:
        """Return the folders that AMIX_GPU, AMIX_WORK and OUT name, or their defaults; with `smoke`, below OUT."""
        out = Path(os.environ.get("OUT") or "gpu-out").absolute()
        gpu = Path(os.environ.get("AMIX_GPU") or (out / "smoke" if smoke else "/tmp/gpu")).absolute()
        work = Path(os.environ.get("AMIX_WORK") or gpu / "work").absolute()
        work.mkdir(parents=True, exist_ok=True)
        return cls(gpu=gpu, work=work, out=out)

    @property
    def data(self) -> Path:
        """The corpora."""
        return self.gpu / "data"
