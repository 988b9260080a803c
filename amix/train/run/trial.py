"""A training of one fold: on the texts of the others, and judged on its own, after the last epoch."""

import time
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from amix.engine.base.errors import TrainError
from amix.train.options.config import TrainConfig
from amix.train.options.dev import Folds
from amix.train.run.accelerator import limited_threads, open_accelerator, seeded
from amix.train.run.data.sets import open_sets
from amix.train.run.log import MetricsLog
from amix.train.run.loop import Run
from amix.train.run.maker import load_network
from amix.train.score.evaluate import Predictions


class TooSlowError(TrainError):
    """A training that would take longer than it may.  seconds: what it would take, about."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"one training would take about {seconds:.0f} seconds")


@dataclass(frozen=True, kw_only=True)
class FoldResult:
    """What the model of a fold says of the texts that it was not shown.  seconds: of its training."""

    predictions: Predictions
    seconds: float


def train_fold(
    shards: str | Path, model: str, config: TrainConfig, folds: Folds, number: int, limit: float
) -> FoldResult:
    """Train on all folds but `number`, which counts from 0, and return the predictions for that one.

    config: with a `p` and a head of its own. Its `subset_seed` deals the texts out.  limit: in seconds.
    Nothing is written. Raises TooSlowError after an epoch that shows that the limit will not do; else as `train` does.
    """
    began = time.perf_counter()
    config = config.settled(has_dev=False)
    accelerator = open_accelerator(config.device, config.mixed_precision)
    sets = open_sets(shards, config, folds, ()).fold(number)
    with limited_threads(config.threads), seeded(config.seed, accelerator.device):
        network = load_network(model, sets, config.seed, accelerator)
        run = Run(config, accelerator, network, sets, Path(), {})
        if config.method != "none":
            run.check_site()
        with tqdm(total=run.steps, desc=config.method, unit="step", disable=None) as bar:
            log = MetricsLog(Path(), 0, writes=False)
            ready = time.perf_counter()
            for epoch in range(config.epochs):
                run.train_epoch(log, bar)
                expected = ready - began + (time.perf_counter() - ready) * config.epochs / (epoch + 1)
                if expected > limit:
                    raise TooSlowError(expected)
        predictions = run.judged()
    return FoldResult(predictions=predictions, seconds=time.perf_counter() - began)
