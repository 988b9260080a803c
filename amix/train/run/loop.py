"""The parts of a run that is under way: batches, plans, losses, steps, selection, checkpoints.

Axes: B batch, C classes.
"""

import contextlib
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from amix.engine.base.errors import TrainError, UsageError
from amix.engine.mixing.site import hidden_layer
from amix.loaders.stream.dataset import RelevanceDataset
from amix.loaders.stream.loader import RelevanceLoader
from amix.train.model.forward import require_site
from amix.train.objective.mixers import START, build_mixer, followed
from amix.train.objective.objective import Objective
from amix.train.objective.online import OnlineRelevance
from amix.train.options.config import AUTO, TrainConfig
from amix.train.run import checkpoint
from amix.train.run.checkpoint import Checkpoint, Weights
from amix.train.run.folder import MetricsLog
from amix.train.run.optim import build_optimizer, learning_rate, set_learning_rate
from amix.train.run.step import TrainingStep, shortest_and_longest
from amix.train.run.subset import draw_subset
from amix.train.score.evaluate import EvalSet, label_names, predictions, to_device


@dataclass(kw_only=True)
class Progress:
    """Where a run stands: what a checkpoint says beside tensors. Epochs and batches count from 0."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=list)  # since the last line of the log
    unpaired: int = 0  # rows without a partner of the kind asked for, since the same line
    p: float | None = None  # probability of being mixed, where it follows the development set
    largest_p: float = 0.0  # of the epochs that are over
    tokens: int = 0  # that went through the model to train it, once for each pass
    best_epoch: int | None = None
    best_metrics: dict[str, float] | None = None


class Run:
    """Model, optimizer, data and position of a run, in one process of one or several.

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
        self.dev, self.out = dev, out
        self.device = accelerator.device
        online = None
        if config.method == "attentionmix" and config.relevance_source == "online":
            online = OnlineRelevance(network, config.head, dataset.manifest.relevance)
        self.objective = Objective(
            mixer=build_mixer(config, network),
            num_classes=len(label_names(dataset.manifest)),
            multi_label=dataset.manifest.multi_label,
            clean_weight=config.clean_weight,
            online=online,
        )
        subset = draw_subset(len(dataset), config.train_samples, config.subset_seed, dataset.folder)
        if (samples := len(dataset) if subset is None else len(subset)) < accelerator.num_processes:
            raise TrainError(
                f"{dataset.folder}: {samples} samples cannot feed "
                f"{accelerator.num_processes} processes. Start fewer."
            )
        self.loader = RelevanceLoader(
            dataset,
            batch_size=config.batch_size,
            group_size=config.group_size,
            rank=accelerator.process_index,
            world_size=accelerator.num_processes,
            seed=config.seed,
            shuffle=config.shuffle,
            window=config.window,
            bucket_batches=config.bucket_batches,
            subset=subset,
        )
        if config.method != "none" and self.loader.group_size < 2:
            raise UsageError(
                f"batch_size {config.batch_size}, {accelerator.num_processes} process(es), group_size "
                f"{self.loader.group_size}: a row has no other to be mixed with. Raise --batch-size or --group-size, "
                "start fewer processes, or train with --method none."
            )
        # Resuming under another number of processes takes the same groups of rows.
        self.identity = {**identity, "group_size": self.loader.group_size}
        self.batches = self.loader.global_batches
        self.steps = config.epochs * math.ceil(self.batches / config.gradient_accumulation)
        if config.gradient_checkpointing:
            self._checkpoint_gradients()
        if config.compile:
            network.compile(dynamic=True)
        self.step = TrainingStep(accelerator, network, self.objective, self.loader, config.seed)
        self.raw_optimizer = build_optimizer(network, config)
        self.optimizer = accelerator.prepare(self.raw_optimizer)
        self.at = Progress(p=START if config.p == AUTO else None)
        self.best: Weights | None = None
        # Of this process's batches since the last line of the log: step, loss and first keys of each.
        self.pending: list[tuple[int, Tensor, list[str]]] = []
        self.unpaired = self.tokens = 0

    def train(self, log: MetricsLog) -> None:
        """Run the epochs that are left."""
        config, at = self.config, self.at
        bar = tqdm(
            total=self.steps,
            initial=at.step,
            desc="train",
            unit="step",
            disable=None if self.accelerator.is_local_main_process else True,
        )
        with bar:
            for epoch in range(at.epoch, config.epochs):
                if self._is_stale():
                    break
                self.network.train()
                if at.batch == 0:
                    self.loader.set_epoch(epoch)
                for batch, share in self.step.batches(at.batch):
                    is_last = (
                        at.batch + 1
                    ) % config.gradient_accumulation == 0 or at.batch + 1 == self.batches
                    with contextlib.nullcontext() if is_last else self.step.kept_apart():
                        loss, unpaired, tokens = self.step.loss(batch, epoch, at.batch, at.p)
                        loss = loss * share
                        self.accelerator.backward(loss / self._accumulated(at.batch))
                    self.pending.append((at.step + 1, loss.detach(), batch["keys"][:3]))
                    if share:
                        self.unpaired += unpaired
                        self.tokens += tokens
                    at.batch += 1
                    if not is_last:
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
                    if at.batch < self.batches:
                        self._checkpoint_if_due()

                at.epoch, at.batch = epoch + 1, 0
                if self.dev is not None:
                    self._collect()  # a diverged model is named by its step, not by its logits
                    said = predictions(self.network, self.dev, config.eval_batch_size)
                    metrics = said.report()
                    extra = {}
                    if at.p is not None:
                        at.largest_p = max(at.largest_p, at.p)
                        at.p = followed(at.p, said.confidence_gap())
                        extra["p"] = at.p
                    log.evaluation(at.step, epoch + 1, "dev", "dev", metrics | extra)
                    self._keep_if_best(epoch + 1, metrics)
                self._checkpoint_if_due()
            self._collect()

    def select(self) -> int:
        """Give the network the weights of the epoch to keep, and return its number."""
        self.network.eval()
        if self.best is None or self.at.best_epoch is None:
            return self.at.epoch
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
        batch = to_device(shortest_and_longest(self.loader), self.device)
        require_site(self.network, batch, self.objective.mixer.sites)

    def _checkpoint_gradients(self) -> None:
        sites = [site for site in self.objective.mixer.sites if hidden_layer(site) is not None]
        if sites:
            # What runs again in the backward pass would run without the mixing.
            raise UsageError(
                f"gradient_checkpointing cannot be used with mixing at {sites[0]}. Leave it out, or mix at the "
                "embeddings (--method attentionmix --level embedding)."
            )
        if not self.network.supports_gradient_checkpointing:
            raise UsageError(f"gradient_checkpointing: {type(self.network).__name__} has none. Leave it out.")
        # transformers 5 has another name for it, and warns of the old one.
        enable = getattr(self.network, "activation_checkpointing_enable", None)
        (enable or self.network.gradient_checkpointing_enable)({"use_reentrant": False})

    def _accumulated(self, batch: int) -> int:
        """Return how many batches the optimizer step of this batch takes; an epoch's last may take fewer."""
        size = self.config.gradient_accumulation
        return min(size, self.batches - batch // size * size)

    def _is_stale(self) -> bool:
        """Tell whether `patience` epochs have brought nothing better on the development set."""
        at, patience = self.at, self.config.patience
        return patience is not None and at.best_epoch is not None and at.epoch - at.best_epoch >= patience

    def _collect(self) -> float:
        """Return the mean loss since the log's last line; raise TrainError for one that is not finite.

        Called by all processes at the same steps, so that each sees whether one of them has diverged.
        """
        if self.pending:
            losses_N = torch.stack([loss for _, loss, _ in self.pending]).double()
            losses = self.accelerator.reduce(losses_N, "mean").tolist()  # waits for the GPU
            for (step, _, keys), loss in zip(self.pending, losses, strict=True):
                if not math.isfinite(loss):
                    raise TrainError(
                        f"the loss is {loss} at step {step}; its batch begins with rows {', '.join(keys)}. "
                        "Lower --lr, or use --mixed-precision no."
                    )
            self.at.losses += losses
            counts = torch.tensor([self.unpaired, self.tokens], device=self.device)
            unpaired, tokens = self.accelerator.reduce(counts, "sum").tolist()
            self.at.unpaired += unpaired
            self.at.tokens += tokens
            self.pending, self.unpaired, self.tokens = [], 0, 0
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
        if self.accelerator.is_main_process:
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
            ).save(self.out, self.at.step, self.config.checkpoints_kept)
