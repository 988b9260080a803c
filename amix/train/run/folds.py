"""Cross-validation: every training text is predicted by a model that was trained without it, else as the run's own.

Where `p` is auto, the models of all folds are trained side by side, epoch by epoch, and follow one confidence gap: that
of all their predictions together. A fold by itself has too few texts for that: with ten, chance moves the gap by 0.1,
so the fold's `p` would go to 0 or to 1, and the temperature would be that of models which were mixed unlike the final
one. The final model takes each epoch's `p` from the same predictions, so it is mixed as the folds' models were. The
price is the memory of as many models. With a fixed `p` they are trained one after the other.

Axes: E epochs, N texts of a fold, C classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from amix.engine.base import publish
from amix.train.options.auto import AUTO
from amix.train.run.ensemble import Member
from amix.train.run.files import FOLDS
from amix.train.run.loop import Run
from amix.train.run.maker import RunMaker
from amix.train.score.evaluate import Predictions, Truth


@dataclass(frozen=True, kw_only=True)
class Fold:
    """The result of a fold's training.

    logits_ENC: float32, of the texts that were held out, after each epoch.  truth, rows: of these texts.
    steps, tokens: as in `TrainResult`.
    """

    logits_ENC: NDArray[np.float32]
    truth: Truth
    rows: NDArray[np.int64]
    multi_label: bool
    steps: int
    tokens: int

    def save(self, path: Path, key: str) -> None:
        """Publish the fold.  key: what it is known by."""
        from safetensors.numpy import save

        numbers = {"multi_label": self.multi_label, "steps": self.steps, "tokens": self.tokens}
        about = {"key": key, **{name: str(int(number)) for name, number in numbers.items()}}
        arrays = {"logits": self.logits_ENC, "truth": self.truth, "rows": self.rows}
        publish.write_atomic(path, save(arrays, about))

    @classmethod
    def load(cls, path: Path, key: str) -> "Fold | None":
        """Return the fold that was saved with this key; None where there is none, or it is damaged."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "numpy") as file:
                about = file.metadata()
                if about["key"] != key:
                    return None
                return cls(
                    logits_ENC=file.get_tensor("logits"),
                    truth=file.get_tensor("truth"),
                    rows=file.get_tensor("rows"),
                    multi_label=bool(int(about["multi_label"])),
                    steps=int(about["steps"]),
                    tokens=int(about["tokens"]),
                )
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return None

    def epochs(self) -> Iterator[Predictions]:
        """Yield the predictions after each epoch."""
        for logits_NC in self.logits_ENC.astype(np.float64):
            yield Predictions(
                logits_NC=logits_NC, truth=self.truth, rows=self.rows, multi_label=self.multi_label
            )


@dataclass(frozen=True, kw_only=True)
class OutOfFold:
    """Predictions of the training texts by models that were trained without them.

    epochs: after each epoch.  steps, tokens: of all folds, as in `TrainResult`.
    members: the folds' models, where they are kept as an ensemble.
    """

    epochs: tuple[Predictions, ...]
    steps: int
    tokens: int
    members: tuple[Member, ...]


_Done = tuple[Fold, Member | None]


def cross_validate(maker: RunMaker) -> OutOfFold:
    """Train a model for each fold; those that an earlier call finished in the same folder are not trained again."""
    numbers = range(len(maker.sets.folds))
    groups = [list(numbers)] if maker.config.p == AUTO else [[number] for number in numbers]
    done: list[_Done] = []
    for group in groups:
        kept = [each for number in group if (each := _kept(maker, number)) is not None]
        done += kept if len(kept) == len(group) else _train(maker, group)
    folds = [fold for fold, _ in done]
    return OutOfFold(
        epochs=tuple(map(pooled, zip(*(fold.epochs() for fold in folds), strict=True))),
        steps=sum(fold.steps for fold in folds),
        tokens=sum(fold.tokens for fold in folds),
        members=tuple(member for _, member in done if member is not None),
    )


def pooled(parts: Sequence[Predictions]) -> Predictions:
    """Return the predictions of several folds as those of one set, in corpus order."""
    rows = np.concatenate([each.rows for each in parts])
    place = np.argsort(rows)
    return Predictions(
        logits_NC=np.concatenate([each.logits_NC for each in parts])[place],
        truth=np.concatenate([each.truth for each in parts])[place],
        rows=rows[place],
        multi_label=parts[0].multi_label,
    )


def _kept(maker: RunMaker, number: int) -> _Done | None:
    """Return a fold that is finished, None where it is not."""
    key = _key(maker, number)
    fold = Fold.load(_path(maker, number), key)
    if fold is None or maker.config.ensemble != FOLDS:
        return None if fold is None else (fold, None)
    member = Member.kept(maker, number + 1, key)
    return None if member is None else (fold, member)


def _train(maker: RunMaker, group: Sequence[int]) -> list[_Done]:
    """Train the models of some folds side by side, and keep what they say of the texts that they were not shown."""
    count, log = len(maker.sets.folds), maker.silent_log()
    runs = [maker.other(maker.sets.fold(number), maker.config.seed) for number in group]
    said: list[list[Predictions]] = [[] for _ in runs]
    name = f"fold {group[0] + 1} of {count}" if len(group) < count else f"{count} folds"
    quiet = None if maker.accelerator.is_local_main_process else True
    with tqdm(total=sum(run.steps for run in runs), desc=name, unit="step", disable=quiet) as bar:
        for _ in range(maker.config.epochs):
            for run, predicted in zip(runs, said, strict=True):
                run.train_epoch(log, bar)
                predicted.append(run.judged())
            together = pooled([predicted[-1] for predicted in said])
            for run in runs:
                run.follow(together, log)

    done: list[_Done] = []
    for number, run, predicted in zip(group, runs, said, strict=True):
        fold, key, member = _result(run, predicted), _key(maker, number), None
        if maker.config.ensemble == FOLDS:
            member = Member.of(maker, number + 1, run, key)
        if maker.writes:
            _path(maker, number).parent.mkdir(exist_ok=True)
            fold.save(_path(maker, number), key)
        done.append((fold, member))
    del runs, run
    maker.accelerator.free_memory()
    return done


def _result(run: Run, said: Sequence[Predictions]) -> Fold:
    return Fold(
        logits_ENC=np.stack([each.logits_NC for each in said]).astype(np.float32),
        truth=said[0].truth,
        rows=said[0].rows,
        multi_label=said[0].multi_label,
        steps=run.at.step,
        tokens=run.at.tokens,
    )


def _key(maker: RunMaker, number: int) -> str:
    return maker.key(f"fold {number + 1}")


def _path(maker: RunMaker, number: int) -> Path:
    return maker.out / FOLDS / f"fold-{number + 1}.safetensors"
