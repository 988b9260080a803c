"""What `auto` means: its constants, and the sentences about them by which a run is identified.

The sentences are made from the constants, so a run under other constants is recognised as another run.
"""

from typing import Literal

AUTO: Literal["auto"] = "auto"
LEARNT: Literal["learnt"] = "learnt"

EVEN = 0.5  # half of the rows are mixed
START = 0.0  # where p=auto begins: a model learns fastest from clean texts while it knows little
GAIN = 2.0  # a confidence gap of 0.25, usual on small sets, has every second row mixed after one epoch, all after two
# p=learnt begins to mix after an epoch whose mean loss is below this, in nats: the texts are as good as known by heart,
# for their labels have a probability of 0.9 (geometric mean).
KNOWN = 0.1
FOLDS = 5  # of the cross-validation that ranks heads


def times(gain: float) -> str:
    """Return a factor in words."""
    return "twice" if gain == 2.0 else f"{gain:g} times"


def rule_of_p(start: float, gain: float) -> str:
    """Return how p=auto moves, in words."""
    return f"from {start:g}, plus {times(gain)} the confidence gap"


def rule_of_learnt(known: float, even: float) -> str:
    """Return how p=learnt moves, in words."""
    return f"{even:g} once the mean loss of an epoch is below {known:g}"


def rule_of_head(folds: int) -> str:
    """Return how head=auto is chosen, in words."""
    return f"ridge regression on {folds} folds, its freedom counting the mean"


# By option and value.
RULES = {
    ("p", AUTO): rule_of_p(START, GAIN),
    ("p", LEARNT): rule_of_learnt(KNOWN, EVEN),
    ("head", AUTO): rule_of_head(FOLDS),
}


FEW_EPOCHS = 3  # after so few a model is seldom over-confident, and seldom knows its texts by heart


def begins_even(p: float | str | None, *, class_weights: bool) -> bool:
    """Return whether p=learnt mixes from the start.

    class_weights: whether a label weighs all classes. The loss of such labels says nothing of how well they are known.
    """
    return p == LEARNT and class_weights


def note_before(p: float | str | None, epochs: int, *, class_weights: bool) -> str | None:
    """Return what to know before a run whose p follows its course: that it has few epochs to mix in; else None.

    p: settled.  class_weights: as in `begins_even`.
    """
    if not isinstance(p, str) or epochs > FEW_EPOCHS or begins_even(p, class_weights=class_weights):
        return None
    if epochs == 1:
        return (
            f"Note: --p {p} mixes nothing in the first epoch, and this run has no other. Train for more (--epochs 10), "
            f"or give --p {EVEN:g} to mix half of the rows."
        )
    when = {
        AUTO: "as long as the model is over-confident on --dev",
        LEARNT: f"once the mean training loss of an epoch is below {KNOWN:g}",
    }
    return (
        f"Note: --p {p} mixes nothing in the first epoch, and after it only {when[p]}, which is rare after so few "
        f"epochs ({epochs}). Train for more (--epochs 10), or give --p {EVEN:g} to mix half of the rows from the start."
    )


def note_after(p: float | str | None, largest_p: float | None) -> str | None:
    """Return what to know after a run that mixed nothing, None after another.

    p: of the options.  largest_p: as in `TrainResult`.
    """
    if largest_p != 0.0:
        return None
    when = (
        f"--p learnt mixes once the mean training loss of an epoch is below {KNOWN:g}, which it was not before that "
        "epoch. More --epochs lower it"
        if p == LEARNT
        else "--p auto mixes once the model is over-confident on --dev, which it was not before that epoch. More "
        "--epochs make a model more confident"
    )
    return (
        f"Note: the model that was kept saw nothing mixed, so this is plain fine-tuning. {when}; --p {EVEN:g} mixes "
        "half of the rows in any case."
    )
