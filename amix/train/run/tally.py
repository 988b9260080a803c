"""Losses and counts of the batches since the last line of the log, gathered from all processes on request."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from amix.engine.base.errors import TrainError
from amix.train.run.checkpoint import Progress


@dataclass(frozen=True, kw_only=True)
class Loss:
    """The loss of a batch on this process. keys: of its first rows, for messages."""

    step: int
    value: Tensor
    keys: Sequence[str]


class Tally:
    """Losses and counts of this process that are not yet collected, because reading a loss waits for the GPU."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._losses: list[Loss] = []
        self._unpaired = self._tokens = 0

    def add(self, loss: Loss) -> None:
        """Note a batch's loss."""
        self._losses.append(loss)

    def count(self, unpaired: int, tokens: int) -> None:
        """Note rows without a partner, and tokens that went through the model."""
        self._unpaired += unpaired
        self._tokens += tokens

    def collect(self, at: Progress) -> float:
        """Add what was noted to the progress, and return the mean loss since the last line of the log.

        Called by all processes at the same steps, so that each sees whether one of them has diverged.
        Raises TrainError for a loss that is not finite.
        """
        if self._losses:
            losses_N = torch.stack([loss.value for loss in self._losses]).double()
            losses = self._accelerator.reduce(losses_N, "mean").tolist()  # waits for the GPU
            for noted, loss in zip(self._losses, losses, strict=True):
                if not math.isfinite(loss):
                    raise TrainError(
                        f"the loss is {loss} at step {noted.step}; its batch begins with rows "
                        f"{', '.join(noted.keys)}. Lower --lr, or use --mixed-precision no."
                    )
            at.losses += losses
            for loss in losses:  # one by one, so that the sum does not depend on when it is asked for
                at.epoch_loss += loss
            counts = torch.tensor([self._unpaired, self._tokens], device=self._accelerator.device)
            unpaired, tokens = self._accelerator.reduce(counts, "sum").tolist()
            at.unpaired += unpaired
            at.tokens += tokens
            self._losses, self._unpaired, self._tokens = [], 0, 0
        return _mean(at.losses)

    def collect_epoch(self, at: Progress) -> float:
        """Collect, and return the mean loss of the epoch that ends."""
        self.collect(at)
        mean, at.epoch_loss = at.epoch_loss / max(at.batch, 1), 0.0
        return mean


def _mean(losses: Sequence[float]) -> float:
    return math.fsum(losses) / max(len(losses), 1)
