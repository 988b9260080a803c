"""Checks of what a caller gives: options, and tensors that must fit a batch.

Axes: B batch, T tokens.
"""

from torch import Tensor, int64

from amix.engine.base.errors import MixingError, UsageError

# What is wrong with the weights of tokens that were not given, and with values that cannot be.
_MISSING = {
    "relevance": "relevance: pass relevance=batch['relevance'], read with a head spec (head='0.8')",
    "saliency": "the saliency of every token: pass saliency=, the norm of the loss's gradient at the word "
    "embeddings, see amix.train.objective.saliency",
}
_REMEDIES = {
    "relevance": "check the cache with 'amix verify --deep'",
    "saliency": "the model has diverged: lower the learning rate",
}


def require_alpha(alpha: float) -> None:
    """Raise UsageError unless `alpha` can be a parameter of the Beta distribution."""
    if not 0.0 < alpha < float("inf"):
        raise UsageError(f"alpha is {alpha}; it must be a number above 0.")


def require_between(name: str, value: float, low: float, high: float) -> None:
    """Raise UsageError naming the option unless low <= value <= high (NaN is never between)."""
    if not low <= value <= high:
        raise UsageError(f"{name} is {value}; it must be between {low:g} and {high:g}.")


def require_one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise UsageError naming the option and its choices unless `value` is one of them."""
    if value not in choices:
        raise UsageError(f"{name} is '{value}'; it must be one of: {', '.join(choices)}.")


def same_shape(name: str, value: Tensor, mask_BT: Tensor) -> Tensor:
    """Return `value` on the mask's device; raise MixingError naming it when the shapes differ."""
    if value.shape != mask_BT.shape:
        raise MixingError(
            f"{name} has shape {tuple(value.shape)}, attention_mask {tuple(mask_BT.shape)}; they must agree."
        )
    return value.to(mask_BT.device)


def checked_weights(name: str, value: Tensor | None, mask_BT: Tensor, method: str) -> Tensor:
    """Return one number per token, (B, T); raise MixingError naming it for None, another shape or a value below 0.

    name: `relevance` or `saliency`.  method: that needs it.
    """
    if value is None:
        raise MixingError(f"{method} needs {_MISSING[name]}.")
    value_BT = same_shape(name, value, mask_BT)
    # On a GPU the check would make the host wait; there the loader's own check has to do.
    if value_BT.device.type == "cpu" and not bool((value_BT.isfinite() & (value_BT >= 0)).all()):
        raise MixingError(f"{name} holds NaN, infinite or negative values; {_REMEDIES[name]}.")
    return value_BT


def checked_partner(partner: Tensor, mask_BT: Tensor) -> Tensor:
    """Return a given partner on the mask's device; raise MixingError unless it names rows of the batch."""
    rows = len(mask_BT)
    if partner.shape != (rows,) or partner.is_floating_point():
        raise MixingError(
            f"partner has shape {tuple(partner.shape)} and dtype {partner.dtype}; it must be ({rows},) integers."
        )
    if rows and not 0 <= int(partner.min()) <= int(partner.max()) < rows:
        raise MixingError(f"partner names rows outside 0..{rows - 1}; each entry is a row of the same batch.")
    return partner.to(mask_BT.device, int64)
