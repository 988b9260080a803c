"""The folder of a run: `config.yaml`, `model/`, `predictions/`, the log (see `log`), maybe checkpoints."""

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from amix.engine.base import place, publish
from amix.engine.base.errors import TrainError, UsageError
from amix.engine.base.processes import locked
from amix.engine.extractor.pretrained import quiet_transformers
from amix.train.model.classifier import Classifier
from amix.train.options.config import TrainConfig
from amix.train.options.file import Inputs, write_config
from amix.train.run import checkpoint
from amix.train.run.files import CONFIG, DEV, MODEL, PREDICTIONS
from amix.train.score.evaluate import Predictions


def open_run(out: Path, resume: bool, *, writes: bool) -> Path | None:
    """Make sure that `out` may be written to, and return the checkpoint to continue from, if any.

    writes: False in all processes but the first.
    Raises UsageError when `out` holds other work, or holds a run and `resume` is False; StorageError where it cannot be
    written.
    """
    if writes:
        place.require_writable(out)
    if not resume or not (out / CONFIG).is_file():
        if (out / CONFIG).is_file():
            raise UsageError(
                f"{out}: already holds a run. Continue it with --resume, or name another folder."
            )
        publish.require_vacant(out, "a run")
        return None
    found = checkpoint.find(out)
    if not found and (out / MODEL).exists():
        raise UsageError(
            f"{out}: its run is finished and left no checkpoint to continue from. Name another folder, or "
            "train with --checkpoint-steps."
        )
    return found[-1] if found else None


@contextlib.contextmanager
def run_folder(out: Path, config: TrainConfig, inputs: Inputs, *, writes: bool) -> Iterator[None]:
    """Make the folder of a run, with its `config.yaml`, and keep other runs out of it while the block runs.

    writes: False in all processes but the first, which does it for them.
    Raises TrainError while another process trains there.
    """
    if not writes:
        yield
        return
    place.make_folder(out)
    with locked(out, "training", TrainError):
        publish.sweep(out)
        write_config(out / CONFIG, config.reusable(), inputs)
        yield


def publish_model(out: Path, model: Classifier, tokenizer: Any) -> Path:  # noqa: ANN401  a transformers tokenizer
    """Write `out`/model in Hugging Face format, weights and tokenizer; an earlier one is replaced."""
    target = out / MODEL
    if target.exists():
        shutil.rmtree(target)
    with publish.staged_folder(target, "a model") as stage, quiet_transformers():
        model.save_pretrained(stage)
        tokenizer.save_pretrained(stage)
    return target


def publish_predictions(
    out: Path,
    on_evals: Mapping[str, Predictions],
    on_dev: Predictions | None,
    of_ensemble: Mapping[str, Predictions] | None = None,
) -> None:
    """Write `out`/predictions: `eval-NAME` of every set, `dev`, and `ensemble-NAME` of every set for an ensemble."""
    folder = out / PREDICTIONS
    folder.mkdir(exist_ok=True)
    for name, each in on_evals.items():
        each.save(folder / f"eval-{name}.safetensors")
    for name, each in (of_ensemble or {}).items():
        each.save(folder / f"ensemble-{name}.safetensors")
    if on_dev is not None:
        on_dev.save(folder / DEV)


def load_predictions(out: Path, names: Iterable[str]) -> tuple[dict[str, Predictions], Predictions | None]:
    """Return what `publish_predictions` wrote for these sets and for the development set, None without one.

    Raises TrainError for a missing or damaged file.
    """
    folder = out / PREDICTIONS
    on_evals = {name: Predictions.load(folder / f"eval-{name}.safetensors") for name in names}
    return on_evals, Predictions.load(folder / DEV) if (folder / DEV).is_file() else None
