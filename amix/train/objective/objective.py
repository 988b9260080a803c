"""The loss of a batch: a plan is sampled, the model is run as it says, and the loss follows.

Axes: B batch, C classes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from amix.engine.base.errors import MixingError, UsageError
from amix.engine.mixing.checks import require_between
from amix.engine.mixing.losses import smoothed, soft_cross_entropy
from amix.engine.mixing.mixer import Mixer, one_spec
from amix.engine.mixing.partners import Draws
from amix.engine.mixing.plan import Plan, as_targets, joined
from amix.loaders.stream.batch import Batch
from amix.train.model.classifier import Model
from amix.train.model.forward import forward
from amix.train.objective.online import OnlineRelevance
from amix.train.objective.permuted import permuted
from amix.train.objective.saliency import saliency


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is minimised: (1 - c) * mixed loss + c * clean loss (rule 8 of docs/architecture.md, section 4).

    mixer: how batches are mixed.  num_classes: C.
    multi_label: binary cross-entropy per class in place of cross-entropy.
    clean_weight: c in [0, 1]; above 0 it costs a second forward pass. 0.5 is what SSMix's published code does,
        which trains on every batch both mixed and as it is.
    label_smoothing: share of every label that is spread evenly over all classes, in [0, 1]; not with `multi_label`.
    online: computes relevance with the model in training, in place of the batch's own.
    permuted: seed of the order that each text's relevance is put into (`permuted.permuted`); None = left as it is.
    checks_labels: whether `loss` looks at the values of labels, for which the host waits where they are on a GPU.
    """

    mixer: Mixer
    num_classes: int
    multi_label: bool = False
    clean_weight: float = 0.0
    label_smoothing: float = 0.0
    online: OnlineRelevance | None = None
    permuted: int | None = None
    checks_labels: bool = True

    def __post_init__(self) -> None:
        require_between("clean_weight", self.clean_weight, 0.0, 1.0)
        require_between("label_smoothing", self.label_smoothing, 0.0, 1.0)
        if self.label_smoothing and self.multi_label:
            raise UsageError(
                f"label_smoothing is {self.label_smoothing:g}, which has no meaning where a text has several labels: "
                "they are not a distribution over classes. Leave it out."
            )

    def passes(self, plan: Plan) -> int:
        """Return how many times a batch with this plan goes through the model, or its first layers, in a step."""
        clean = self._clean(plan)
        losses = (clean < 1.0) + (clean > 0.0)
        return losses + ("saliency" in self.mixer.needs) + (self.online is not None)

    def plan(
        self,
        model: Model,
        batch: Batch,
        draws: Generator | Draws | None = None,
        p: float | None = None,
    ) -> Plan:
        """Sample how a batch is mixed.

        batch: a loader's, on any device; on the model's where saliency or online relevance is needed.
        draws: a generator for the batch as one group of rows; or what each of its groups is drawn from.
        p: probability per row of being mixed, for this plan; None = the mixer's own.
        Returns a plan on the device of the batch. Raises MixingError when the batch lacks what the mixer needs.
        """
        mask_BT, relevance = batch["attention_mask"], batch.get("relevance")
        salient = None
        if "saliency" in self.mixer.needs:
            salient = saliency(model, batch, multi_label=self.multi_label)  # a forward and a backward pass
        if "relevance" in self.mixer.needs and self.online is not None:
            relevance = self.online(batch)  # a forward pass
        if relevance is not None and self.permuted is not None:
            relevance = _permuted(relevance, batch, self.permuted)
        content, labels = batch.get("content"), batch.get("labels")

        mixer, groups = self.mixer, _groups(draws, len(mask_BT))
        if isinstance(draws, Draws):
            # What holds for the whole batch is drawn once, on every rank alike; the rest for each group of rows.
            whole = draws.whole()
            mixer, relevance = mixer.settled(whole), one_spec(relevance, whole)
        return joined(
            [
                mixer.plan(
                    mask_BT[rows],
                    relevance=_part(relevance, rows),
                    saliency=_part(salient, rows),
                    content=_part(content, rows),
                    labels=_part(labels, rows),
                    p=p,
                    generator=generator,
                )
                for rows, generator in groups
            ]
        )

    def loss(self, model: Model, batch: Batch, plan: Plan) -> Tensor:
        """Return the loss, a scalar in nats, with no forward pass whose weight is 0.

        model, batch, plan: on one device; the batch with labels, (B,) class ids or (B, C) weights.
        """
        clean = self._clean(plan)
        terms = []
        if clean < 1.0:
            mixed_BC = plan.mix_labels(batch["labels"], self.num_classes, check=self.checks_labels)
            terms.append((1.0 - clean) * self._entropy(forward(model, batch, plan), mixed_BC))
        if clean > 0.0:
            clean_BC = as_targets(batch["labels"], self.num_classes, check=self.checks_labels)
            terms.append(clean * self._entropy(forward(model, batch), clean_BC))
        return torch.stack(terms).sum()

    def _clean(self, plan: Plan) -> float:
        # Both losses are the same where nothing is mixed.
        return 0.0 if plan.is_identity else self.clean_weight

    def _entropy(self, logits_BC: Tensor, targets_BC: Tensor) -> Tensor:
        targets_BC = smoothed(targets_BC, self.label_smoothing)
        return soft_cross_entropy(logits_BC, targets_BC, multi_label=self.multi_label)


def _groups(draws: Generator | Draws | None, rows: int) -> Iterable[tuple[slice, Generator | None]]:
    return draws.groups(rows) if isinstance(draws, Draws) else [(slice(None), draws)]


def _permuted(relevance: Tensor, batch: Batch, seed: int) -> Tensor:
    if "keys" not in batch:
        raise MixingError(
            "permuted relevance needs the batch's keys, which say which texts it holds. Use a RelevanceLoader."
        )
    content_BT = batch.get("content", batch["attention_mask"]).bool()
    return permuted(relevance, content_BT, batch["keys"], seed)


def _part(value: Tensor | None, rows: slice) -> Tensor | None:
    return None if value is None else value[rows]
