"""The folder of a run: `model/`, `config.yaml`, `metrics.jsonl`, `predictions/`, `tensorboard/`, maybe checkpoints."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from amix.engine.base import canonical, publish
from amix.engine.base.errors import TrainError, UsageError
from amix.engine.base.processes import lock_folder
from amix.engine.extractor.encoder import quiet_transformers
from amix.train.options.config import TrainConfig
from amix.train.options.file import write_config
from amix.train.run import checkpoint
from amix.train.run.files import CONFIG, DEV, METRICS, MODEL, PREDICTIONS, TENSORBOARD
from amix.train.score.evaluate import Predictions


def open_run(out: Path, resume: bool) -> Path | None:
    """Make sure that `out` may be written to, and return the checkpoint to go on from, if any.

    Raises UsageError when `out` holds other work, or holds a run and `resume` is False.
    """
    if not resume or not (out / CONFIG).is_file():
        if (out / CONFIG).is_file():
            raise UsageError(
                f"{out}: already holds a run. Go on with it with --resume, or name another folder."
            )
        publish.require_vacant(out, "a run")
        return None
    found = checkpoint.find(out)
    if not found and (out / MODEL).exists():
        raise UsageError(
            f"{out}: its run is finished and left no checkpoint to go on from. Name another folder, or "
            "train with --checkpoint-steps."
        )
    return found[-1] if found else None


@contextlib.contextmanager
def run_folder(out: Path, config: TrainConfig, inputs: Mapping[str, Any], *, writes: bool) -> Iterator[None]:
    """Make the folder of a run, with its `config.yaml`, and keep other processes from training there till the end.

    writes: False in all processes but the first, which does it for them.
    Raises TrainError while another process trains there.
    """
    if not writes:
        yield
        return
    out.mkdir(parents=True, exist_ok=True)
    try:
        lock = lock_folder(out, "training", TrainError)
    except UsageError:
        lock = None  # some network file systems have no locks, and a run is worth more than this care
    try:
        publish.sweep(out)
        write_config(out / CONFIG, config.reusable(), inputs)
        yield
    finally:
        if lock is not None:
            os.close(lock)


def publish_model(out: Path, model: Any, tokenizer: Any) -> Path:  # noqa: ANN401
    """Write `out`/model in Hugging Face format, weights and tokenizer; an earlier one is replaced."""
    target = out / MODEL
    if target.exists():
        shutil.rmtree(target)
    with publish.staged_folder(target, "a model") as stage, quiet_transformers():
        model.save_pretrained(stage)
        tokenizer.save_pretrained(stage)
    return target


def publish_predictions(out: Path, said: Mapping[str, Predictions], on_dev: Predictions | None) -> None:
    """Write `out`/predictions: `eval-NAME.safetensors` of every set, and `dev.safetensors`."""
    folder = out / PREDICTIONS
    folder.mkdir(exist_ok=True)
    for name, each in said.items():
        each.save(folder / f"eval-{name}.safetensors")
    if on_dev is not None:
        on_dev.save(folder / DEV)


class MetricsLog:
    """Writes TensorBoard and `metrics.jsonl`: one canonical JSON a line, the same bytes for equal runs."""

    def __init__(self, out: Path, step: int, *, writes: bool = True) -> None:
        """Go on after `step`: lines of later steps, and of the end, which a killed run left, are dropped.

        writes: False in all processes but the first, which logs for them.
        """
        self._file: IO[bytes] | None = None
        self._step = step
        if not writes:
            return
        from torch.utils.tensorboard.writer import SummaryWriter

        path = out / METRICS
        kept = [line for line in _lines(path) if _is_before(json.loads(line), step)] if step else []
        publish.write_atomic(path, b"".join(kept))
        if not step:
            shutil.rmtree(out / TENSORBOARD, ignore_errors=True)
        self._file = path.open("ab")
        self._board = SummaryWriter(str(out / TENSORBOARD), purge_step=step + 1 if step else None)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._board.close()

    def loss(self, step: int, epoch: int, loss: float, lr: float, unpaired: int = 0) -> None:
        """Log the mean loss since the last line, and the learning rate of this step.

        unpaired: rows since then that stayed unmixed for want of a partner; a line says so where there were any.
        """
        extra = {"unpaired": unpaired} if unpaired else {}
        self._write(
            {"step": step, "epoch": epoch, "loss": loss, "lr": lr, **extra},
            {"train/loss": loss, "train/lr": lr},
        )

    def head(self, spec: str) -> None:
        """Log the head spec that `auto` chose; once in a run."""
        if not self._step:
            self._write({"step": 0, "epoch": 0, "kind": "head", "head": spec}, {})

    def evaluation(self, step: int, epoch: int, kind: str, name: str, metrics: Mapping[str, float]) -> None:
        """Log the metrics of a set; kind: `dev` or `eval`."""
        line = {"step": step, "epoch": epoch, "kind": kind, "name": name, **metrics}
        self._write(line, {f"{name}/{metric}": value for metric, value in metrics.items()})

    def _write(self, line: dict[str, Any], scalars: Mapping[str, float]) -> None:
        if self._file is None:
            return
        self._file.write(canonical.dumps(line) + b"\n")
        self._file.flush()
        for name, value in scalars.items():
            self._board.add_scalar(name, value, line["step"])


def _is_before(line: Mapping[str, Any], step: int) -> bool:
    # What is reported comes after the last step, and is reported again.
    return bool(line["step"] <= step and line.get("kind") != "eval")


def _lines(path: Path) -> list[bytes]:
    """Return the whole lines of a file; a killed run may have left a part of one."""
    data = path.read_bytes() if path.is_file() else b""
    return [line for line in data.splitlines(keepends=True) if line.endswith(b"\n")]
