"""What tables and pages call their numbers, which direction is better, and what they mean in one sentence."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Term:
    """A number, for readers who meet it for the first time.

    name: as tables head it.  better: which direction.  means: one sentence.
    """

    name: str
    better: Literal["higher", "lower"]
    means: str

    @property
    def direction(self) -> str:
        """Which direction is better, in words."""
        return f"{self.better} is better"


_SCALED = (
    "Scaled numbers are those after temperature scaling: logits are divided by one number, fitted on the development "
    "set, which changes how sure the model is and none of its answers."
)

TERMS = {
    "accuracy": Term(
        name="accuracy",
        better="higher",
        means="Accuracy is the share of texts that the model puts into the right class.",
    ),
    "macro_f1": Term(
        name="macro-F1",
        better="higher",
        means="Macro-F1 weighs missed and wrongly claimed texts of a class together, and counts rare classes as much "
        "as common ones.",
    ),
    "nll": Term(
        name="NLL",
        better="lower",
        means="NLL (negative log likelihood) is how much the right answers surprise the model on average; being sure "
        "and wrong costs most.",
    ),
    "brier": Term(
        name="Brier",
        better="lower",
        means="The Brier score is the mean squared distance of the model's probabilities from the truth.",
    ),
    "ece": Term(
        name="ECE",
        better="lower",
        means="ECE (expected calibration error) is how far the model's confidence is from how often it is right: at "
        "0.10, by ten texts in a hundred.",
    ),
    "ece_equal_mass": Term(
        name="ECE, equal mass",
        better="lower",
        means="ECE, equal mass, is the same measured in groups of equally many texts.",
    ),
    "aurc": Term(
        name="AURC",
        better="lower",
        means="AURC (area under the risk-coverage curve) is the share of errors among the texts that the model is "
        "surest of, averaged over how many of them are taken.",
    ),
    "scaled nll": Term(name="NLL, scaled", better="lower", means=_SCALED),
    "scaled ece": Term(name="ECE, scaled", better="lower", means=_SCALED),
}


def explained(metrics: Iterable[str]) -> list[str]:
    """Return what metrics mean, a sentence each, none of them twice."""
    return list(dict.fromkeys(TERMS[metric].means for metric in metrics))


def signed(difference: float) -> str:
    """Return a difference with its sign and three decimals; 0.000 has none."""
    text = f"{difference:+.3f}"
    return text if text.strip("+-0.") else text[1:]
