"""The loss of a training step, in one process or averaged over several.

Axes: B batch.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from amix.engine.mixing.partners import DROPOUT_STREAM, Draws, step_generator
from amix.engine.mixing.plan import Plan, as_targets
from amix.loaders.stream.batch import Batch
from amix.loaders.stream.loader import RelevanceLoader
from amix.train.model.batch import shortest_and_longest, to_device
from amix.train.model.classifier import Classifier
from amix.train.model.forward import forward
from amix.train.objective.objective import Objective


def dropout_seed(seed: int, epoch: int, batch: int, rank: int = 0) -> int:
    """Return what to seed torch with before the forward passes of a batch.

    So a resumed run needs no generator states, and no evaluation or reader in between changes what follows.
    """
    generator = step_generator(seed, epoch, batch, group=DROPOUT_STREAM - rank)
    return int(torch.randint(2**63 - 1, (), generator=generator))


@dataclass(frozen=True, kw_only=True)
class BatchLoss:
    """The result of a batch on this process.

    mean: the mean loss, with its gradient graph.  unpaired: rows that found no partner.
    tokens: tokens that went through the model, counted once for each pass.
    """

    mean: Tensor
    unpaired: int
    tokens: int


class TrainingStep:
    """What a process does for a batch: it takes its part of the rows, plans their mixing, and computes the loss.

    Gradients are averaged over processes, so that with the same global batch, groups of rows and weights they are
    those of one process, up to rounding and dropout.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        network: Classifier,
        objective: Objective,
        loader: RelevanceLoader,
        seed: int,
    ) -> None:
        self._accelerator, self._network, self._objective = accelerator, network, objective
        self._loader, self._seed = loader, seed
        self._rank, self._ranks = accelerator.process_index, accelerator.num_processes
        # Plans from cached relevance are made on the batch's device (CPU); plans that run the model, on the model's.
        self._plans_on_device = objective.online is not None or "saliency" in objective.mixer.needs
        self._module: Any = _Loss(network, objective)  # or DistributedDataParallel around it
        if self._ranks > 1:
            device = accelerator.device
            self._module = DistributedDataParallel(
                self._module,
                device_ids=[device] if device.type == "cuda" else None,
                broadcast_buffers=False,  # a classifier's buffers do not change
                find_unused_parameters=self._leaves_some_unused(),
            )

    def batches(self, done: int) -> Iterator[tuple[Batch, float]]:
        """Yield what is left of an epoch of which `done` batches are done, each with the weight of its mean loss.

        A process without a row in the last batch gets another batch with weight 0, because every process takes part in
        averaging the gradients.
        """
        for number, batch in enumerate(self._loader, start=done):
            own, everywhere = self._loader.row_counts(number)
            yield batch, self._ranks * own / everywhere
        if len(self._loader) < self._loader.global_batches:
            yield shortest_and_longest(self._loader.dataset), 0.0

    def loss(self, batch: Batch, epoch: int, number: int, p: float | None = None) -> BatchLoss:
        """Return the loss of a batch, the same for the same epoch, number, weights and `p`.

        p: as `Objective.plan` takes it.
        """
        size = self._loader.group_size
        first = self._rank * (self._loader.batch_size // size // self._ranks)
        draws = Draws(self._seed, epoch, number, size, first)
        torch.manual_seed(dropout_seed(self._seed, epoch, number, self._rank))

        # Checked before they go to a GPU, where looking at them would make this process wait for all that is before.
        as_targets(batch["labels"], self._objective.num_classes)
        on_device = to_device(batch, self._accelerator.device)
        with self._accelerator.autocast():
            planned = on_device if self._plans_on_device else batch
            plan = self._objective.plan(self._network, planned, draws, p)
            mean: Tensor = self._module(on_device, plan.to(self._accelerator.device))
        tokens = int(batch["attention_mask"].sum()) * self._objective.passes(plan)
        return BatchLoss(mean=mean, unpaired=plan.unpaired, tokens=tokens)

    def kept_apart(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which each process adds up its own gradients, and none are exchanged."""
        return self._module.no_sync() if self._ranks > 1 else contextlib.nullcontext()

    def _leaves_some_unused(self) -> bool:
        """Tell whether a loss reaches only a part of the parameters, as where a model has a second head."""
        batch = to_device(shortest_and_longest(self._loader.dataset), self._accelerator.device)
        forward(self._network, batch).sum().backward()
        unused = any(each.requires_grad and each.grad is None for each in self._network.parameters())
        self._network.zero_grad()
        return unused


class _Loss(nn.Module):
    """The loss as one forward pass, so that DistributedDataParallel sees every use of the weights."""

    def __init__(self, network: Classifier, objective: Objective) -> None:
        super().__init__()
        self.network, self.objective = network, objective

    def forward(self, batch: Batch, plan: Plan) -> Tensor:
        return self.objective.loss(self.network, batch, plan)
