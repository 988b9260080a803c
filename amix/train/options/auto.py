"""What `auto` means: its constants, and the sentences about them by which a run is identified.

The sentences are made from the constants, so a run under other constants is recognised as another run.
"""

from typing import Literal

AUTO: Literal["auto"] = "auto"

EVEN = 0.5  # half of the rows are mixed: what attentionmix does without a development set
START = 0.0  # where p=auto begins: a model learns fastest from clean texts while it knows little
GAIN = 2.0  # a confidence gap of 0.25, usual on small sets, has every second row mixed after one epoch, all after two
FOLDS = 5  # of the cross-validation that ranks heads


def times(gain: float) -> str:
    """Return a factor in words."""
    return "twice" if gain == 2.0 else f"{gain:g} times"


def rule_of_p(start: float, gain: float) -> str:
    """Return how p=auto moves, in words."""
    return f"from {start:g}, plus {times(gain)} the confidence gap"


def rule_of_head(folds: int) -> str:
    """Return how head=auto is chosen, in words."""
    return f"ridge regression on {folds} folds, its freedom counting the mean"


RULES = {"p": rule_of_p(START, GAIN), "head": rule_of_head(FOLDS)}
