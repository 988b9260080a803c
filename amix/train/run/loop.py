"""The training loop: epochs, their optimizer steps, and the batches of each step."""

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Never

import torch
from accelerate import Accelerator
from torch import nn
from tqdm import tqdm

from amix.loaders.stream.batch import Batch
from amix.train.model.batch import shortest_and_longest, to_device
from amix.train.model.classifier import Classifier
from amix.train.model.forward import require_site
from amix.train.objective.mixers import followed, least_loss, once_learnt
from amix.train.options.auto import AUTO, EVEN, LEARNT, START, begins_even
from amix.train.options.config import TrainConfig
from amix.train.run import checkpoint
from amix.train.run.checkpoint import Checkpoint, Progress, State, Weights
from amix.train.run.data.sets import Sets
from amix.train.run.log import LossLine, MetricsLog, ScoreLine, ShareLine
from amix.train.run.optim import build_optimizer, learning_rate, set_learning_rate
from amix.train.run.result import EpochSummary, Metrics
from amix.train.run.setup import build_loader, build_objective, checkpoint_gradients
from amix.train.run.step import TrainingStep
from amix.train.run.tally import Loss, Tally
from amix.train.score.evaluate import Predictions, predictions


class Run:
    """Model, optimizer, data and progress of a run, in one process of one or several.

    out: the folder that its checkpoints go to.  identity: what must be the same for a checkpoint to fit.
    at: how far the run has come.  best: weights of the best epoch so far, on the CPU, if --dev is given.
    """

    def __init__(
        self,
        config: TrainConfig,
        accelerator: Accelerator,
        network: Classifier,
        sets: Sets,
        out: Path,
        identity: dict[str, object],
    ) -> None:
        self.config, self.accelerator, self.network = config, accelerator, network
        self.dev, self.out, self.device = sets.dev, out, accelerator.device
        self.objective = build_objective(config, network, sets)
        self.loader = build_loader(config, accelerator, sets)
        # A run can be resumed under another number of processes only with the same groups of rows.
        self.identity = {**identity, "group_size": self.loader.group_size}
        self.batches = self.loader.global_batches
        self.steps = config.epochs * math.ceil(self.batches / config.gradient_accumulation)
        if config.gradient_checkpointing:
            checkpoint_gradients(network, self.objective.mixer)
        if config.compile:
            network.compile(dynamic=True)

        self.step = TrainingStep(accelerator, network, self.objective, self.loader, config.seed)
        self.raw_optimizer = build_optimizer(network, config)
        self.optimizer = accelerator.prepare(self.raw_optimizer)
        self.least_loss = least_loss(config.label_smoothing, len(sets.classes))
        self.begins_even = begins_even(config.p, class_weights=sets.manifest.class_weights)
        start = EVEN if self.begins_even else START
        self.at = Progress(p=start if isinstance(config.p, str) else None)
        self.best: Weights | None = None
        self.tally = Tally(accelerator)

    @torch.no_grad()
    def check_site(self) -> None:
        """Refuse a model that cannot be mixed at the sites that the plans use."""
        batch = to_device(shortest_and_longest(self.loader.dataset), self.device)
        require_site(self.network, batch, self.objective.mixer.sites)

    def restore(self, folder: Path) -> None:
        """Continue from a checkpoint. Raises TrainError when it is damaged or of a run with other settings."""
        saved = Checkpoint.load(folder)
        state = saved.state
        checkpoint.require_same_identity(state.identity, self.identity, folder)
        self.network.load_state_dict(saved.model)
        checkpoint.restore_optimizer(self.raw_optimizer, saved.optimizer)
        if self.accelerator.scaler is not None and state.scaler:
            self.accelerator.scaler.load_state_dict(state.scaler)
        self.at, self.best = state.progress, saved.best
        if self.at.batch:
            self.loader.load_state_dict(state.loader)

    def train(
        self,
        log: MetricsLog,
        out_of_fold: Sequence[Predictions] | None = None,
        name: str = "train",
        on_epoch: Callable[[EpochSummary], None] = lambda summary: None,
    ) -> None:
        """Run the epochs that are left.

        out_of_fold: what the models of the folds said after each epoch; it judges the epochs of this model, too.
        name: what the bar says.  on_epoch: called after each epoch, in the first process.
        """
        if self.begins_even and self.at.step == 0:
            log.share(ShareLine(step=0, epoch=0, p=EVEN))
        quiet = None if self.accelerator.is_local_main_process else True
        with tqdm(total=self.steps, initial=self.at.step, desc=name, unit="step", disable=quiet) as bar:
            while self.at.epoch < self.config.epochs and not self._is_stale():
                began = time.perf_counter()
                loss = self.train_epoch(log, bar)
                metrics = self._judge_epoch(log, out_of_fold)
                if self.accelerator.is_main_process:
                    on_epoch(
                        EpochSummary(
                            epoch=self.at.epoch,
                            epochs=self.config.epochs,
                            loss=loss,
                            dev=metrics,
                            seconds=time.perf_counter() - began,
                        )
                    )
                self._checkpoint_if_due()
            self.tally.collect(self.at)

    def select(self) -> int:
        """Give the network the weights of the epoch to keep, and return its number."""
        self.network.eval()
        if self.best is None or self.at.best_epoch is None:
            return self.at.epoch
        self.network.load_state_dict(self.best)
        return self.at.best_epoch

    def train_epoch(self, log: MetricsLog, bar: "tqdm[Never]") -> float:
        """Run what is left of the epoch, count it as done, and return the mean loss of its batches."""
        at = self.at
        self.network.train()
        if at.batch == 0:
            self.loader.set_epoch(at.epoch)
        for batch, share in self.step.batches(at.batch):
            done = at.batch + 1
            is_last = done % self.config.gradient_accumulation == 0 or done == self.batches
            # Processes exchange gradients once per optimizer step.
            with contextlib.nullcontext() if is_last else self.step.kept_apart():
                self._backward(batch, share)
            at.batch = done
            if not is_last:
                continue

            rate = self._optimizer_step()
            bar.update()
            if at.step % self.config.log_steps == 0 or at.step == self.steps:
                mean = self._log_loss(log, rate)
                bar.set_postfix(epoch=at.epoch + 1, loss=f"{mean:.4f}")
            if at.batch < self.batches:
                self._checkpoint_if_due()
        loss = self.tally.collect_epoch(at)  # one that has diverged raises an error naming the step
        at.epoch, at.batch = at.epoch + 1, 0
        at.largest_p = max(at.largest_p, at.p or 0.0)
        if at.p is not None and self.config.p == LEARNT:
            if (p := once_learnt(at.p, loss, self.least_loss)) != at.p:
                at.p = p
                log.share(ShareLine(step=at.step, epoch=at.epoch, p=p))
        return loss

    def _backward(self, batch: Batch, share: float) -> None:
        """Add the gradient of a batch to those of its optimizer step. share: weight of the batch's mean loss."""
        at, size = self.at, self.config.gradient_accumulation
        found = self.step.loss(batch, at.epoch, at.batch, at.p)
        loss = found.mean * share
        # The last step of an epoch may take fewer batches.
        accumulated = min(size, self.batches - at.batch // size * size)
        self.accelerator.backward(loss / accumulated)
        self.tally.add(Loss(step=at.step + 1, value=loss.detach(), keys=batch["keys"][:3]))
        if share:
            self.tally.count(found.unpaired, found.tokens)

    def _optimizer_step(self) -> float:
        """Change the weights, and return the learning rate of the step."""
        rate = learning_rate(self.at.step, self.steps, self.config)
        set_learning_rate(self.raw_optimizer, rate)
        if self.config.max_grad_norm > 0:
            # Accelerate's own clipping would unscale the gradients of all runs that share it.
            self.accelerator.unscale_gradients(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.at.step += 1
        return rate

    def _log_loss(self, log: MetricsLog, rate: float) -> float:
        """Log the mean loss since the last line, and return it."""
        at = self.at
        mean = self.tally.collect(at)  # waits for the GPU
        log.loss(LossLine(step=at.step, epoch=at.epoch + 1, loss=mean, lr=rate, unpaired=at.unpaired))
        at.losses, at.unpaired = [], 0
        return mean

    def judged(self) -> Predictions:
        """Return the predictions for the development set."""
        assert self.dev is not None
        self.tally.collect(self.at)  # if the loss has diverged, this raises an error that names the step
        return predictions(self.network, self.dev, self.config.eval_batch_size)

    def follow(self, found: Predictions, log: MetricsLog) -> dict[str, float]:
        """Log and return the metrics of predictions after an epoch, which may change how often rows are mixed."""
        at, metrics, extra = self.at, found.report(), {}
        if at.p is not None and self.config.p == AUTO:
            at.p = followed(at.p, found.confidence_gap())
            extra["p"] = at.p
        log.score(ScoreLine(step=at.step, epoch=at.epoch, kind="dev", name="dev", metrics=metrics | extra))
        return metrics

    def _judge_epoch(self, log: MetricsLog, out_of_fold: Sequence[Predictions] | None) -> Metrics | None:
        """Return the metrics by which the epoch is judged, None without any; the epoch may be the best."""
        at = self.at
        if out_of_fold is not None:
            return self.follow(out_of_fold[at.epoch - 1], log)
        if self.dev is None:
            return None
        metrics = self.follow(self.judged(), log)
        best = at.best_metrics
        rank = (metrics["accuracy"], -metrics["nll"])
        if best is None or rank > (best["accuracy"], -best["nll"]):
            at.best_epoch, at.best_metrics, at.best_p = at.epoch, metrics, at.largest_p
            self.best = checkpoint.weights_of(self.network)
        return metrics

    def _is_stale(self) -> bool:
        """Tell whether `patience` epochs have brought nothing better on the development set."""
        at, patience = self.at, self.config.patience
        return patience is not None and at.best_epoch is not None and at.epoch - at.best_epoch >= patience

    def _checkpoint_if_due(self) -> None:
        every = self.config.checkpoint_steps
        if every is None or self.at.step % every:
            return
        self.tally.collect(self.at)
        if not self.accelerator.is_main_process:
            return
        scaler = self.accelerator.scaler
        state = State(
            identity=self.identity,
            progress=self.at,
            loader=self.loader.state_dict(),
            scaler=None if scaler is None else scaler.state_dict(),
        )
        saved = Checkpoint.of(state, self.network, self.raw_optimizer, self.best)
        saved.save(self.out, self.at.step, self.config.checkpoints_kept)
