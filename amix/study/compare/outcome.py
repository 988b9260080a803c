"""What is kept of a run: its result, its predictions, and what it was a run of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amix.engine.base import canonical
from amix.engine.base.errors import TrainError
from amix.study.compare.grid import Cell
from amix.train.run.folder import PREDICTIONS
from amix.train.score.evaluate import Predictions

RESULT = "result.json"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A finished run. result: as `TrainResult.as_dict`.  folder: that of the run."""

    cell: Cell
    folder: Path
    result: dict[str, Any]

    def said(self, name: str) -> tuple[NDArray[np.float64], NDArray[Any], bool]:
        """Return logits (N, C), truth, and whether labels are several, of an evaluation set."""
        said = Predictions.load(self.folder / PREDICTIONS / f"eval-{name}.safetensors")
        return said.logits_NC, said.truth, said.multi_label


def read_outcome(root: Path, cell: Cell, identity: dict[str, Any]) -> Outcome | None:
    """Return the outcome of a cell, None where it has none yet.

    Raises TrainError naming what differs when the one that lies there is of other options or shards.
    """
    folder = root / cell.folder
    path = folder / RESULT
    if not path.is_file():
        return None
    document = canonical.unseal(path.read_bytes(), str(path), TrainError)
    was = document["identity"]
    different = [
        f"{name} was {was.get(name)!r}, is {identity.get(name)!r}"
        for name in sorted({*was, *identity})
        if was.get(name) != identity.get(name)
    ]
    if different:
        raise TrainError(
            f"{folder}: holds a run with other settings: {'; '.join(different)}. Name another folder for this "
            "comparison, or remove that run."
        )
    return Outcome(cell=cell, folder=folder, result=document["result"])
