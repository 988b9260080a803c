"""What is kept of a run: its result, its predictions, and its identity, which is everything that decides them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from amix.engine.base.errors import TrainError
from amix.study.compare.grid import Cell
from amix.study.runs import Predictor, load_predictions
from amix.train.options.config import TrainConfig
from amix.train.options.identity import identity_of
from amix.train.run.files import MODEL
from amix.train.run.result import KeptResult, TrainResult
from amix.train.score.evaluate import Predictions

RESULT = "result.json"

# What decides a run, by name: its options, its model, and what its shards were made of.
Identity = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A finished run.

    folder: where its files are.  of: whose predictions count, those of the model or of the ensemble around it.
    """

    cell: Cell
    folder: Path
    result: TrainResult
    of: Predictor = "eval"

    def predictions(self, name: str) -> Predictions:
        """Return the predictions for an evaluation set."""
        return load_predictions(self.folder, name, self.of)


def with_ensembles(outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    """Yield each outcome, and after it its ensemble's, if it has one, as an outcome of a method of its own."""
    for outcome in outcomes:
        yield outcome
        found = outcome.result.ensemble
        if found is not None:
            result = replace(
                outcome.result,
                eval=found.eval,
                calibration=found.calibration,
                temperature=found.temperature,
                scaled=found.scaled,
            )
            cell = replace(outcome.cell, method=f"{outcome.cell.method}, ensemble of {found.models}")
            yield replace(outcome, cell=cell, result=result, of="ensemble")


def write_outcome(
    stage: Path, cell: Cell, identity: Identity, result: TrainResult, keeps_model: bool
) -> None:
    """Publish `result.json` in the folder `stage`, which becomes that of the cell."""
    model = cell.folder / MODEL if keeps_model else None
    KeptResult(identity=identity, result=replace(result, model=model)).write(stage / RESULT)


def read_outcome(root: Path, cell: Cell, identity: Identity) -> Outcome | None:
    """Return the outcome of a cell, None where it has none yet.

    Raises TrainError naming what differs when the folder of the cell holds a run of another identity.
    """
    folder = root / cell.folder
    if not (folder / RESULT).is_file():
        return None
    kept = KeptResult.read(folder / RESULT)
    # An option that is younger than the run was not used there, which is what its default means.
    before = {**identity_of(TrainConfig()), **kept.identity}
    different = [
        f"{name} was {before.get(name)!r}, is {identity.get(name)!r}"
        for name in sorted({*before, *identity})
        if before.get(name) != identity.get(name)
    ]
    if different:
        raise TrainError(
            f"{folder}: holds a run with other settings: {'; '.join(different)}. Name another folder for this "
            "comparison, or remove that run."
        )
    return Outcome(cell=cell, folder=folder, result=kept.result)
