"""Checkpoints: everything that a stopped run needs to continue as if it had not been stopped.

A folder `checkpoint-00000004` holds `model.safetensors`, `optimizer.safetensors`, with `--dev` the weights of
the best epoch so far, and `state.json`, which carries the hashes of the others and of itself. The folder gets this
name only when it is complete. No state of a random generator is kept: order, partners and dropout are drawn anew
for each batch from (seed, epoch, batch).
"""

import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from amix.engine.base import canonical, publish
from amix.engine.base.errors import TrainError
from amix.train.model.classifier import Classifier

_NAME = re.compile(r"checkpoint-(\d{8,})")
_STATE = "state.json"
_MODEL, _OPTIMIZER, _BEST = "model.safetensors", "optimizer.safetensors", "best.safetensors"

Weights = dict[str, Tensor]


@dataclass(kw_only=True)
class Progress:
    """How far a run has come. Epochs and batches count from 0.

    losses, unpaired: of the batches since the last line of the log; `unpaired` = rows without a partner of the kind
        that was asked for.  epoch_loss: of the batches of this epoch together.
    p: probability of being mixed, where it follows the development set.  largest_p: of the epochs that are over.
    best_p: what `largest_p` was when the best epoch was over.
    tokens: that went through the model to train it, once for each pass.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=list)
    unpaired: int = 0
    epoch_loss: float = 0.0
    p: float | None = None
    largest_p: float = 0.0
    best_p: float = 0.0
    tokens: int = 0
    best_epoch: int | None = None
    best_metrics: dict[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class State:
    """What a checkpoint holds beside tensors.

    identity: what decides the run's outcome.  loader, scaler: states of the loader and of the gradient scaler, as
        they give and take them.
    """

    identity: Mapping[str, object]
    progress: Progress
    loader: dict[str, Any]  # JSON
    scaler: dict[str, Any] | None  # JSON

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:  # JSON, as `asdict` gives it
        """Return the state that `asdict` was of."""
        return cls(**{**values, "progress": Progress(**values["progress"])})


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What is stored. best: weights of the best epoch so far, if an epoch was selected."""

    state: State
    model: Weights
    optimizer: Weights
    best: Weights | None

    @classmethod
    def of(
        cls, state: State, network: Classifier, optimizer: torch.optim.Optimizer, best: Weights | None
    ) -> Self:
        """Return a copy of where a run is."""
        return cls(state=state, model=weights_of(network), optimizer=optimizer_tensors(optimizer), best=best)

    def save(self, run: Path, step: int, kept: int) -> None:
        """Publish `run`/checkpoint-STEP, then remove all but the newest `kept`."""
        with publish.staged_folder(run / f"checkpoint-{step:08d}", "a checkpoint") as stage:
            for name, tensors in self._parts().items():
                save_file(tensors, stage / name)
            hashes = {name: publish.sha256_file(stage / name) for name in self._parts()}
            (stage / _STATE).write_bytes(canonical.seal({"state": asdict(self.state), "files": hashes}))
        for old in find(run)[:-kept]:
            shutil.rmtree(old)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a checkpoint. Raises TrainError naming the file when it is damaged or of another version."""
        remedy = f"Remove {folder} to continue from an earlier checkpoint, or start a new run."
        try:
            document = canonical.unseal((folder / _STATE).read_bytes(), str(folder / _STATE), TrainError)
            parts = {}
            for name, sha256 in dict(document.get("files", {})).items():
                if publish.sha256_file(folder / name) != sha256:
                    raise TrainError(f"{folder / name}: is damaged, its sha256 is another. {remedy}")
                parts[name] = load_file(folder / name)
        except OSError as problem:
            raise TrainError(f"{problem.filename}: cannot be read ({problem.strerror}). {remedy}") from None
        try:
            return cls(
                state=State.from_dict(document["state"]),
                model=parts[_MODEL],
                optimizer=parts[_OPTIMIZER],
                best=parts.get(_BEST),
            )
        except (KeyError, TypeError):
            raise TrainError(f"{folder}: was written by another version of amix. {remedy}") from None

    def _parts(self) -> dict[str, Weights]:
        parts = {_MODEL: self.model, _OPTIMIZER: self.optimizer}
        return parts if self.best is None else {**parts, _BEST: self.best}


def find(run: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first."""
    found = [
        (int(match[1]), path) for path in run.glob("checkpoint-*") if (match := _NAME.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found)]


def require_same_identity(saved: Mapping[str, object], current: Mapping[str, object], where: Path) -> None:
    """Raise TrainError naming what differs between the run that wrote a checkpoint and this one."""
    different = [
        f"{name} was {saved.get(name)!r}, is {current.get(name)!r}"
        for name in {**saved, **current}
        if saved.get(name) != current.get(name)
    ]
    if different:
        raise TrainError(
            f"{where}: belongs to a run with other settings: {'; '.join(different)}. Resume with the "
            "settings and the version of amix that it was started with (see its config.yaml), or start a new run in "
            "another folder."
        )


def weights_of(model: Classifier) -> Weights:
    """Return a copy of the model's weights on the CPU; tied weights become copies."""
    return {
        name: value.detach().to("cpu", copy=True).contiguous() for name, value in model.state_dict().items()
    }


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> Weights:
    """Return the optimizer's state as flat tensors named `number.key`, in the order of its parameters."""
    state: dict[int, dict[str, float | Tensor]] = optimizer.state_dict()["state"]
    return {
        f"{number}.{key}": torch.as_tensor(value).detach().to("cpu", copy=True).contiguous()
        for number, values in state.items()
        for key, value in values.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Weights) -> None:
    """Give an optimizer over the same parameters the state that `optimizer_tensors` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
