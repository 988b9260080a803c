"""The folders of a run."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "gpu"


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where things are.

    gpu: `data`, `minilm`, `mpnet`, as they came to the machine.  work: extractors and caches, made anew on every
    machine, and the folders of comparisons.  out: what is brought back.  before: what was brought back earlier.
    """

    gpu: Path
    work: Path
    out: Path
    before: Path

    @classmethod
    def from_environment(cls, *, smoke: bool) -> Self:
        """Return the folders that AMIX_GPU, AMIX_WORK, OUT and AMIX_RESULTS name, or their defaults.

        With `smoke` these are below OUT, so that a trial and a measurement are not taken for each other.
        """
        out = Path(os.environ.get("OUT") or "gpu-out").absolute()
        gpu = Path(os.environ.get("AMIX_GPU") or (out / "smoke" if smoke else "/tmp/gpu")).absolute()
        work = Path(os.environ.get("AMIX_WORK") or gpu / "work").absolute()
        before = Path(os.environ.get("AMIX_RESULTS") or (out if smoke else _RESULTS)).absolute()
        work.mkdir(parents=True, exist_ok=True)
        return cls(gpu=gpu, work=work, out=out, before=before)

    @property
    def data(self) -> Path:
        """The corpora."""
        return self.gpu / "data"
