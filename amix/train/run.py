"""The parts of a run that is under way: batches, plans, losses, steps, selection, checkpoints.

Axes: B batch, C classes.
"""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from amix.engine.errors import TrainError, UsageError
from amix.engine.partners import step_generator
from amix.loaders.dataset import RelevanceDataset
from amix.loaders.loader import RelevanceLoader
from amix.train import checkpoint
from amix.train.checkpoint import Checkpoint, Weights
from amix.train.config import TrainConfig
from amix.train.evaluate import EvalSet, evaluate, label_names, to_device
from amix.train.forward import require_site
from amix.train.mixers import build_mixer
from amix.train.objective import Objective
from amix.train.online import OnlineRelevance
from amix.train.optim import build_optimizer, learning_rate, set_learning_rate
from amix.train.runfolder import MetricsLog


@dataclass(kw_only=True)
class Progress:
    """Where a run stands: what a checkpoint says beside tensors. Epochs and batches count from 0."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=list)  # since the last line of the log
    unpaired: int = 0  # rows without a partner of the kind asked for, since the same line
    best_epoch: int | None = None
    best_metrics: dict[str, float] | None = None


def draw_subset(samples: int, wanted: int | None, seed: int, where: Path) -> NDArray[np.int64] | None:
    """Return the numbers of `wanted` of `samples`, drawn whatever their labels, ascending; None for all.

    A smaller draw of the same seed is part of a larger one.
    """
    if wanted is None:
        return None
    if wanted > samples:
        raise UsageError(
            f"train_samples is {wanted}, but {where} holds {samples}. Ask for fewer, or leave it out."
        )
    return np.sort(np.random.Generator(np.random.Philox(seed)).permutation(samples)[:wanted])


def dropout_seed(seed: int, epoch: int, batch: int) -> int:
    """Return what to seed torch with before the forward passes of a batch.

    So a resumed run needs no generator states, and no evaluation or reader in between changes what follows.
    """
    # Groups count from 0, so -1 is a stream that no mixing draws from.
    return int(torch.randint(2**63 - 1, (), generator=step_generator(seed, epoch, batch, group=-1)))


class Run:
    """Model, optimizer, data and position of a run.

    identity: what must be the same for a checkpoint of another process to fit.
    at: where the run stands.  best: weights of the best epoch so far, on the CPU, when `dev` selects.
    """

    def __init__(
        self,
        config: TrainConfig,
        accelerator: Accelerator,
        dataset: RelevanceDataset,
        network: Any,  # noqa: ANN401  a transformers classifier
        dev: EvalSet | None,
        out: Path,
        identity: dict[str, Any],
    ) -> None:
        self.config, self.accelerator, self.network = config, accelerator, network
        self.dev, self.out, self.identity = dev, out, identity
        self.device = accelerator.device
        online = None
        if config.method == "attentionmix" and config.relevance_source == "online":
            online = OnlineRelevance(network, config.head, dataset.manifest.relevance)
        self.objective = Objective(
            mixer=build_mixer(config, network.config.num_hidden_layers),
            num_classes=len(label_names(dataset.manifest)),
            multi_label=dataset.manifest.multi_label,
            clean_weight=config.clean_weight,
            online=online,
        )
        # A plan from the cache is made where the batch is; one that runs the model is made where the model is.
        self.plans_on_device = online is not None or "saliency" in self.objective.mixer.needs
        subset = draw_subset(len(dataset), config.train_samples, config.subset_seed, dataset.folder)
        self.loader = RelevanceLoader(
            dataset,
            batch_size=config.batch_size,
            seed=config.seed,
            shuffle=config.shuffle,
            window=config.window,
            bucket_batches=config.bucket_batches,
            subset=subset,
        )
        self.steps = config.epochs * math.ceil(len(self.loader) / config.gradient_accumulation)
        self.raw_optimizer = build_optimizer(network, config)
        self.optimizer = accelerator.prepare(self.raw_optimizer)
        self.at = Progress()
        self.best: Weights | None = None
        self.pending: list[
            tuple[int, Tensor, list[str]]
        ] = []  # step, loss and first keys of what is not logged yet

    def train(self, log: MetricsLog) -> None:
        """Run the epochs that are left."""
        config, at = self.config, self.at
        bar = tqdm(total=self.steps, initial=at.step, desc="train", unit="step", disable=None)
        with bar:
            for epoch in range(at.epoch, config.epochs):
                self.network.train()
                if at.batch == 0:
                    self.loader.set_epoch(epoch)
                for batch in self.loader:
                    group = self._group_size(at.batch)
                    loss = self._loss(batch, epoch, at.batch)
                    self.accelerator.backward(loss / group)
                    self.pending.append((at.step + 1, loss.detach(), batch["keys"][:3]))  # type: ignore[arg-type]
                    at.batch += 1
                    if at.batch % config.gradient_accumulation and at.batch < len(self.loader):
                        continue

                    rate = learning_rate(at.step, self.steps, config)
                    set_learning_rate(self.raw_optimizer, rate)
                    if config.max_grad_norm > 0:
                        self.accelerator.clip_grad_norm_(self.network.parameters(), config.max_grad_norm)
                    self.optimizer.step()
                    self.optimizer.zero_grad()
                    at.step += 1
                    bar.update()

                    if at.step % config.log_steps == 0 or at.step == self.steps:
                        mean = self._collect()
                        log.loss(at.step, epoch + 1, mean, rate, at.unpaired)
                        at.losses, at.unpaired = [], 0
                        bar.set_postfix(epoch=epoch + 1, loss=f"{mean:.4f}")
                    if at.batch < len(self.loader):
                        self._checkpoint_if_due()

                at.epoch, at.batch = epoch + 1, 0
                if self.dev is not None:
                    self._collect()  # a diverged model is named by its step, not by its logits
                    metrics = evaluate(self.network, self.dev, config.eval_batch_size)
                    log.evaluation(at.step, epoch + 1, "dev", "dev", metrics)
                    self._keep_if_best(epoch + 1, metrics)
                self._checkpoint_if_due()

    def select(self) -> int:
        """Give the network the weights of the epoch to keep, and return its number."""
        self.network.eval()
        if self.best is None or self.at.best_epoch is None:
            return self.config.epochs
        self.network.load_state_dict(self.best)
        return self.at.best_epoch

    def restore(self, folder: Path) -> None:
        """Go on from a checkpoint. Raises TrainError when it is damaged or of a run with other settings."""
        saved = Checkpoint.load(folder)
        checkpoint.require_same_plan(saved.state["identity"], self.identity, folder)
        self.network.load_state_dict(saved.model)
        checkpoint.restore_optimizer(self.raw_optimizer, saved.optimizer)
        if self.accelerator.scaler is not None and saved.state["scaler"]:
            self.accelerator.scaler.load_state_dict(saved.state["scaler"])
        self.at, self.best = Progress(**saved.state["progress"]), saved.best
        if self.at.batch:
            self.loader.load_state_dict(saved.state["loader"])

    @torch.no_grad()
    def check_site(self) -> None:
        """Refuse a model that cannot be mixed where the plans will be."""
        lengths = self.loader.dataset.lengths()
        pair = np.array([int(lengths.argmin()), int(lengths.argmax())], np.int64)
        batch = next(iter(RelevanceLoader(self.loader.dataset, batch_size=2, shuffle="none", subset=pair)))
        require_site(self.network, to_device(batch, self.device), self.objective.mixer.sites)

    def _loss(self, batch: dict[str, Any], epoch: int, number: int) -> Tensor:
        """Return the loss of a batch; the same for the same seed, epoch, number and weights."""
        generator = step_generator(self.config.seed, epoch, number)
        torch.manual_seed(dropout_seed(self.config.seed, epoch, number))
        on_device = to_device(batch, self.device)
        with self.accelerator.autocast():
            plan = self.objective.plan(self.network, on_device if self.plans_on_device else batch, generator)
            self.at.unpaired += plan.unpaired
            return self.objective.loss(self.network, on_device, plan.to(self.device))

    def _group_size(self, batch: int) -> int:
        """Return how many batches the optimizer step of this batch takes; an epoch's last may take fewer."""
        size = self.config.gradient_accumulation
        return min(size, len(self.loader) - batch // size * size)

    def _collect(self) -> float:
        """Return the mean loss since the log's last line; raise TrainError for one that is not finite."""
        if self.pending:
            losses = torch.stack([loss for _, loss, _ in self.pending]).double().tolist()  # waits for the GPU
            for (step, _, keys), loss in zip(self.pending, losses, strict=True):
                if not math.isfinite(loss):
                    raise TrainError(
                        f"the loss is {loss} at step {step}; its batch begins with rows {', '.join(keys)}. "
                        "Lower --lr, or use --mixed-precision no."
                    )
            self.at.losses += losses
            self.pending = []
        return math.fsum(self.at.losses) / max(len(self.at.losses), 1)

    def _keep_if_best(self, epoch: int, metrics: dict[str, float]) -> None:
        best = self.at.best_metrics
        rank = (metrics["accuracy"], -metrics["nll"])
        if best is None or rank > (best["accuracy"], -best["nll"]):
            self.at.best_epoch, self.at.best_metrics = epoch, metrics
            self.best = checkpoint.weights_of(self.network)

    def _checkpoint_if_due(self) -> None:
        every = self.config.checkpoint_steps
        if every is None or self.at.step % every:
            return
        self._collect()
        scaler = self.accelerator.scaler
        Checkpoint(
            state={
                "identity": self.identity,
                "progress": asdict(self.at),
                "loader": self.loader.state_dict(),
                "scaler": None if scaler is None else scaler.state_dict(),
            },
            model=checkpoint.weights_of(self.network),
            optimizer=checkpoint.optimizer_tensors(self.raw_optimizer),
            best=self.best,
        ).save(self.out, self.at.step)
