"""What is kept of a run: its result, its predictions, and the identity that says what it was a run of."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from amix.engine.base import canonical, publish
from amix.engine.base.errors import TrainError
from amix.study.compare.grid import Cell
from amix.study.runs import load_predictions
from amix.train.run.files import MODEL
from amix.train.run.train import TrainResult
from amix.train.score.evaluate import Predictions

RESULT = "result.json"

Identity = Mapping[
    str, object
]  # what decides a run, by name: its options, its model, and what its shards were made of


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A finished run.  folder: where it lies.  result: its `model` may have been removed since."""

    cell: Cell
    folder: Path
    result: TrainResult

    def predictions(self, name: str) -> Predictions:
        """Return the predictions for an evaluation set."""
        return load_predictions(self.folder, name)


def write_outcome(
    stage: Path, cell: Cell, identity: Identity, result: TrainResult, keeps_model: bool
) -> None:
    """Publish `result.json` in the folder `stage`, which becomes that of the cell."""
    model = str(cell.folder / MODEL) if keeps_model else None
    document = {"identity": identity, "result": {**result.as_dict(), "model": model}}
    publish.write_atomic(stage / RESULT, canonical.seal(document))


def read_outcome(root: Path, cell: Cell, identity: Identity) -> Outcome | None:
    """Return the outcome of a cell, None where it has none yet.

    Raises TrainError naming what differs when the folder of the cell holds a run of another identity.
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
    result = document["result"]
    if result.keys() != {each.name for each in fields(TrainResult)}:
        raise TrainError(
            f"{path}: was written by another version of amix. Remove that run to train it again."
        )
    return Outcome(cell=cell, folder=folder, result=TrainResult(**{**result, "model": folder / MODEL}))
