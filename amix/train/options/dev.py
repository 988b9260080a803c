"""What `--dev` names: shards, a share of the training texts, folds of them, or nothing. Nothing heavy is imported."""

import re
from dataclasses import dataclass
from pathlib import Path

from amix.engine.base.errors import ConfigError

NO_DEV = "none"  # overrides a development set that a file or a corpus names
_FOLDS = "cv:"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Share:
    """A share of the training texts, held out of training. value: above 0, below 1."""

    value: float

    def __str__(self) -> str:
        return f"{self.value:g}"


@dataclass(frozen=True)
class Folds:
    """Parts of the training texts, each predicted by a model that was trained without it. count: at least 2."""

    count: int

    def __str__(self) -> str:
        return f"{_FOLDS}{self.count}"


# What a choice by the texts that were trained on is worth.
SAME_TEXTS = (
    "--dev names the texts that are trained on. A model is the better on them the more of them it knows by heart, so "
    "the epoch that is chosen is one that overfits, and the scores on --dev say nothing about other texts. Name "
    "texts that are not trained on, or hold out a share of these: --dev 0.2."
)

Dev = Share | Folds | str | Path | None  # str, Path: shards


def parse_dev(given: str | Path | None) -> Dev:
    """Return what a value of `--dev` names: a number is a share, `cv:K` folds, `none` nothing, everything else shards.

    Raises ConfigError for a number that is not a share, and for a `cv:` without a number of folds.
    """
    if not isinstance(given, str) or given == NO_DEV:
        return None if given == NO_DEV else given
    if given.startswith(_FOLDS):
        count = given.removeprefix(_FOLDS)
        if not (count.isascii() and count.isdigit() and int(count) >= 2):
            raise ConfigError(f"dev is {given}; cv:K takes a number of folds from 2, such as cv:5.")
        return Folds(int(count))
    if not _NUMBER.fullmatch(given):
        return given
    share = float(given)
    if not 0.0 < share < 1.0:
        raise ConfigError(
            f"dev is {given}; a share of the training texts is above 0 and below 1, such as 0.2. "
            f"If shards are meant, write ./{given}"
        )
    return Share(share)


def dev_text(value: object) -> object:
    """Return a value of `dev` in a YAML file as the command line gives it: YAML reads a share as a number."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
