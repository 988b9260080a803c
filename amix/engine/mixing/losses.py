"""Losses on mixed targets, computed outside the model.

Axes: B batch, C classes.
"""

from typing import TYPE_CHECKING

from amix.engine.base.errors import MixingError

if TYPE_CHECKING:
    from torch import Tensor


def soft_cross_entropy(logits_BC: "Tensor", targets_BC: "Tensor", *, multi_label: bool = False) -> "Tensor":
    """Mean cross-entropy between logits and class distributions, in float32.

    A `*ForSequenceClassification` model that is given float labels switches to binary cross-entropy, and keeps
    that in its configuration. So the loss is computed here.

    logits_BC: any float dtype.  targets_BC: weights in [0, 1]; rows sum to 1 unless `multi_label`.
    multi_label: binary cross-entropy per class instead, averaged over classes.
    Returns a scalar, in nats. Raises MixingError when the shapes differ.
    """
    from torch.nn import functional

    if logits_BC.shape != targets_BC.shape or logits_BC.ndim != 2:
        raise MixingError(
            f"logits have shape {tuple(logits_BC.shape)}, targets {tuple(targets_BC.shape)}; both must be "
            "(batch, classes). Build the targets with plan.mix_labels(labels, num_classes=...)."
        )
    logits_BC, targets_BC = logits_BC.float(), targets_BC.float()
    if multi_label:
        return functional.binary_cross_entropy_with_logits(logits_BC, targets_BC)
    return functional.cross_entropy(logits_BC, targets_BC)


def smoothed(targets_BC: "Tensor", share: float) -> "Tensor":
    """Return class distributions of which `share`, in [0, 1], is spread evenly over all classes.

    Label smoothing as in `torch.nn.CrossEntropyLoss` (Szegedy et al. 2016, arXiv 1512.00567, section 7). It is linear,
    so labels may be smoothed before they are mixed or after.
    """
    return targets_BC + share * (1.0 / targets_BC.shape[1] - targets_BC) if share else targets_BC
