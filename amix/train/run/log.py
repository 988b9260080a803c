"""The log of a run: `metrics.jsonl`, one canonical JSON a line, and the same for TensorBoard.

Equal runs write the same bytes.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from amix.engine.base import canonical, publish
from amix.engine.base.errors import TrainError
from amix.train.run.files import METRICS, TENSORBOARD


@dataclass(frozen=True, kw_only=True)
class LossLine:
    """The mean loss of the steps up to `step`, and the learning rate of that step.

    unpaired: rows of these steps that stayed unmixed because no partner was there for them.
    """

    step: int
    epoch: int
    loss: float
    lr: float
    unpaired: int = 0

    def as_dict(self) -> dict[str, object]:
        """Return the line as JSON values."""
        line: dict[str, object] = {"step": self.step, "epoch": self.epoch, "loss": self.loss, "lr": self.lr}
        return {**line, "unpaired": self.unpaired} if self.unpaired else line


@dataclass(frozen=True, kw_only=True)
class HeadLine:
    """The head spec that `auto` chose; once in a run."""

    head: str
    step: int = 0
    epoch: int = 0

    def as_dict(self) -> dict[str, object]:
        """Return the line as JSON values."""
        return {"step": self.step, "epoch": self.epoch, "kind": "head", "head": self.head}


@dataclass(frozen=True, kw_only=True)
class ShareLine:
    """The probability of a row to be mixed from the next epoch on, where it follows the training loss."""

    step: int
    epoch: int
    p: float

    def as_dict(self) -> dict[str, object]:
        """Return the line as JSON values."""
        return {"step": self.step, "epoch": self.epoch, "kind": "p", "p": self.p}


@dataclass(frozen=True, kw_only=True)
class ScoreLine:
    """The metrics of a set at the end of an epoch (`dev`), or of the model that was kept (`eval`) or its ensemble.

    name: of the set.  metrics: by name; of `dev` also the next epoch's `p`, where it follows the set.
    """

    step: int
    epoch: int
    kind: Literal["dev", "eval", "ensemble"]
    name: str
    metrics: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """Return the line as JSON values."""
        line = {"step": self.step, "epoch": self.epoch, "kind": self.kind, "name": self.name}
        return {**line, **self.metrics}


Line = LossLine | HeadLine | ShareLine | ScoreLine


def parse_line(text: str | bytes) -> Line:
    """Return a line of the log. Raises ValueError or TypeError for one that no run writes."""
    values: dict[str, Any] = json.loads(text)  # JSON
    match values.pop("kind", None):
        case None:
            return LossLine(**values)
        case "head":
            return HeadLine(**values)
        case "p":
            return ShareLine(**values)
        case "dev" | "eval" | "ensemble" as kind:
            step, epoch, name = (values.pop(key, None) for key in ("step", "epoch", "name"))
            return ScoreLine(step=step, epoch=epoch, kind=kind, name=name, metrics=values)
        case kind:
            raise ValueError(f"a line of the log has the kind {kind!r}")


def read_log(path: Path) -> list[Line]:
    """Return the lines of a log; a killed run may have left a part of one at the end, which does not count.

    Raises OSError where there is no log, ValueError or TypeError where it is damaged.
    """
    return [parse_line(line) for line in _whole_lines(path.read_bytes())]


class MetricsLog:
    """Writes the log of a run."""

    def __init__(self, out: Path, step: int, *, writes: bool = True) -> None:
        """Continue after `step`: lines of later steps, and of the end, which a killed run left, are dropped.

        writes: False in all processes but the first, which logs for them.
        """
        self._file: IO[bytes] | None = None
        self._step = step
        if not writes:
            return
        from torch.utils.tensorboard.writer import SummaryWriter

        path = out / METRICS
        before = _whole_lines(path.read_bytes()) if step and path.is_file() else []
        try:
            kept = [line for line in before if _is_before(parse_line(line), step)]
        except (ValueError, TypeError) as problem:
            raise TrainError(f"{path}: cannot be continued ({problem}). Start a new run.") from None
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

    def head(self, spec: str) -> None:
        """Log the head spec that `auto` chose, unless the run is resumed and has logged it before."""
        if not self._step:
            self._write(HeadLine(head=spec), {})

    def loss(self, line: LossLine) -> None:
        """Log a mean loss."""
        self._write(line, {"train/loss": line.loss, "train/lr": line.lr})

    def share(self, line: ShareLine) -> None:
        """Log that rows are mixed from now on."""
        self._write(line, {"train/p": line.p})

    def score(self, line: ScoreLine) -> None:
        """Log the metrics of a set."""
        name = f"ensemble {line.name}" if line.kind == "ensemble" else line.name
        self._write(line, {f"{name}/{metric}": value for metric, value in line.metrics.items()})

    def _write(self, line: Line, scalars: Mapping[str, float]) -> None:
        if self._file is None:
            return
        self._file.write(canonical.dumps(line.as_dict()) + b"\n")
        self._file.flush()
        for name, value in scalars.items():
            self._board.add_scalar(name, value, line.step)


def _is_before(line: Line, step: int) -> bool:
    # What is reported comes after the last step, and is reported again.
    return line.step <= step and not (isinstance(line, ScoreLine) and line.kind != "dev")


def _whole_lines(data: bytes) -> list[bytes]:
    return [line for line in data.splitlines(keepends=True) if line.endswith(b"\n")]
