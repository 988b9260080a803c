"""Checkpoints that are not as transformers expects them: behind prefixes, incomplete, of another width."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

Weights = dict[str, Tensor]


def changed(model: Path, copy: Path, change: Callable[[Weights], Weights], **config: object) -> Path:
    """Copy a model folder, put its weights through `change`, and set values of its `config.json`; return the copy."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(model, copy)
    weights = change(load_file(copy / "model.safetensors"))
    # Copies, since two names of one tensor are not stored.
    save_file(
        {name: value.clone() for name, value in weights.items()},
        copy / "model.safetensors",
        metadata={"format": "pt"},
    )
    configure(copy, **config)
    return copy


def behind(*prefixes: str) -> Callable[[Weights], Weights]:
    """Return the change that writes every weight behind each of `prefixes`."""
    return lambda weights: {
        f"{prefix}{name}": value for prefix in prefixes for name, value in weights.items()
    }


def configure(model: Path, **config: object) -> Path:
    """Set values of a model folder's `config.json`, and return the folder."""
    path = model / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return model
