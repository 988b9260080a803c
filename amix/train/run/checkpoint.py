"""Checkpoints: everything that a stopped run needs to go on as if it had not been stopped.

A folder `checkpoint-00000004` holds `model.safetensors`, `optimizer.safetensors`, with `--dev` the weights of
the best epoch so far, and `state.json`, which carries the hashes of the others and of itself. It has its name
only when it is whole. There is no state of a random generator: order, partners and dropout are drawn anew for
each batch from (seed, epoch, batch).
"""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from amix.engine.base import canonical, publish
from amix.engine.base.errors import TrainError

_NAME = re.compile(r"checkpoint-(\d{8,})")

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """What is stored. state: JSON.  best: weights of the best epoch so far, if an epoch was selected."""

    state: dict[str, Any]
    model: Weights
    optimizer: Weights
    best: Weights | None

    def save(self, run: Path, step: int, kept: int) -> None:
        """Publish `run`/checkpoint-STEP, then remove all but the newest `kept`."""
        with publish.staged_folder(run / f"checkpoint-{step:08d}", "a checkpoint") as stage:
            for name, tensors in self._parts().items():
                save_file(tensors, stage / name)
            hashes = {name: publish.sha256_file(stage / name) for name in self._parts()}
            (stage / "state.json").write_bytes(canonical.seal({"state": self.state, "files": hashes}))
        for old in find(run)[:-kept]:
            shutil.rmtree(old)

    @classmethod
    def load(cls, folder: Path) -> "Checkpoint":
        """Read a checkpoint. Raises TrainError when it is damaged, naming the file and what to do."""
        remedy = f"Remove {folder} to go on from an earlier checkpoint, or start anew."
        try:
            document = canonical.unseal(
                (folder / "state.json").read_bytes(), str(folder / "state.json"), TrainError
            )
            parts = {}
            for name, sha256 in document["files"].items():
                if publish.sha256_file(folder / name) != sha256:
                    raise TrainError(f"{folder / name}: is damaged, its sha256 is another. {remedy}")
                parts[name.removesuffix(".safetensors")] = load_file(folder / name)
        except OSError as problem:
            raise TrainError(f"{problem.filename}: cannot be read ({problem.strerror}). {remedy}") from None
        return cls(document["state"], parts["model"], parts["optimizer"], parts.get("best"))

    def _parts(self) -> dict[str, Weights]:
        parts = {"model": self.model, "optimizer": self.optimizer}
        if self.best is not None:
            parts["best"] = self.best
        return {f"{name}.safetensors": tensors for name, tensors in parts.items()}


def find(run: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first."""
    found = [
        (int(match[1]), path) for path in run.glob("checkpoint-*") if (match := _NAME.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found)]


def require_same_plan(saved: Mapping[str, Any], current: Mapping[str, Any], where: Path) -> None:
    """Raise TrainError naming what differs between the run that wrote a checkpoint and this one."""
    different = [
        f"{name} was {saved.get(name)!r}, is {current.get(name)!r}"
        for name in {**saved, **current}
        if saved.get(name) != current.get(name)
    ]
    if different:
        raise TrainError(
            f"{where}: belongs to a run with other settings: {'; '.join(different)}. Resume with those that "
            "it was started with (its config.yaml) and the version of amix, or start a new run in another folder."
        )


def weights_of(model: torch.nn.Module) -> Weights:
    """Return a copy of the model's weights on the CPU; tied weights become copies."""
    return {
        name: value.detach().to("cpu", copy=True).contiguous() for name, value in model.state_dict().items()
    }


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> Weights:
    """Return the optimizer's state as flat tensors named `number.key`, in the order of its parameters."""
    state: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
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
