"""The further models of an ensemble, each with its predictions, beside the run's own in `model/`."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amix.engine.base import canonical, publish
from amix.engine.base.errors import TrainError
from amix.train.run.files import ENSEMBLE, MODEL
from amix.train.run.folder import load_predictions, publish_model, publish_predictions
from amix.train.run.loop import Run
from amix.train.run.maker import RunMaker
from amix.train.score.evaluate import Predictions, predictions

_MEMBER = "member.json"
_SEED_STREAM = 3  # apart from what else is drawn from a run's seed


@dataclass(frozen=True, kw_only=True)
class Member:
    """A model of an ensemble: its predictions, and what its training cost.

    on_dev: None without a development set, and with folds, of which the model may have seen the texts.
    steps, tokens: as in `TrainResult`.
    """

    on_evals: Mapping[str, Predictions]
    on_dev: Predictions | None
    steps: int
    tokens: int

    @classmethod
    def of(cls, maker: RunMaker, number: int, run: Run, key: str) -> "Member":
        """Evaluate the model of a run that has ended, and publish it in `ensemble/NUMBER`.

        key: what it is known by.
        """
        size, dev = maker.config.eval_batch_size, maker.sets.dev
        run.network.eval()
        member = cls(
            on_evals={name: predictions(run.network, each, size) for name, each in maker.sets.evals.items()},
            on_dev=None if dev is None else predictions(run.network, dev, size),
            steps=run.at.step,
            tokens=run.at.tokens,
        )
        if maker.writes:
            folder = _folder(maker, number)
            shutil.rmtree(folder, ignore_errors=True)  # of a run that was stopped there
            folder.mkdir(parents=True)
            publish_model(folder, run.network, maker.tokenizer)
            publish_predictions(folder, member.on_evals, member.on_dev)
            about = {"key": key, "steps": member.steps, "tokens": member.tokens}
            publish.write_atomic(folder / _MEMBER, canonical.seal(about))
        return member

    @classmethod
    def kept(cls, maker: RunMaker, number: int, key: str) -> "Member | None":
        """Return the member that `of` published with this key; None where it did not."""
        folder = _folder(maker, number)
        try:
            about = canonical.unseal((folder / _MEMBER).read_bytes(), str(folder / _MEMBER), TrainError)
            if about["key"] != key or not (folder / MODEL).is_dir():
                return None
            on_evals, on_dev = load_predictions(folder, maker.sets.evals)
            return cls(on_evals=on_evals, on_dev=on_dev, steps=about["steps"], tokens=about["tokens"])
        except (OSError, TrainError, KeyError):
            return None


def train_others(maker: RunMaker, out_of_fold: Sequence[Predictions] | None) -> list[Member]:
    """Train the models of an ensemble that differ from the run's own in their seed; finished ones are kept.

    out_of_fold: as for `Run.train`.
    """
    count = maker.config.ensemble
    if not isinstance(count, int):
        return []
    return [_other(maker, number, out_of_fold) for number in range(1, count)]


def remove_strangers(maker: RunMaker, count: int) -> None:
    """Remove the models of an earlier run in the folder, with other settings, beside the `count` further ones."""
    for folder in maker.out.glob(f"{ENSEMBLE}/*"):
        if int(folder.name) > count:
            shutil.rmtree(folder)


def member_seed(seed: int, number: int) -> int:
    """Return the seed of an ensemble's model; number 0 is the run's own, which has the run's seed."""
    drawn = np.random.SeedSequence((seed, _SEED_STREAM, number)).generate_state(1, np.uint64)
    return int(drawn[0] >> np.uint64(1))


def _other(maker: RunMaker, number: int, out_of_fold: Sequence[Predictions] | None) -> Member:
    key = maker.key(f"model {number}")
    member = Member.kept(maker, number, key)
    if member is None:
        run = maker.other(maker.sets, member_seed(maker.config.seed, number))
        run.train(maker.silent_log(), out_of_fold, name=f"model {number + 1} of {maker.config.ensemble}")
        run.select()
        member = Member.of(maker, number, run, key)
        del run
        maker.accelerator.free_memory()
    return member


def _folder(maker: RunMaker, number: int) -> Path:
    return maker.out / ENSEMBLE / str(number)
