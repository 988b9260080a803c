"""What a fit is asked for, and what it does where it is not asked."""

import contextlib
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from amix.engine.base.errors import CorpusError, HeadError, UsageError
from amix.engine.base.heads import HeadSpec
from amix.loaders.corpus import CorpusOptions
from amix.loaders.corpus.find import find_files
from amix.study.fit.defaults import BATCH_SIZE, FEWEST_EPOCHS, HELD_OUT, LR, MODEL, MOST_EPOCHS, STEPS
from amix.train.options.auto import AUTO
from amix.train.options.config import TrainConfig
from amix.train.options.dev import Share, parse_dev
from amix.train.options.methods import Method
from amix.train.run.data.sets import reads_cached_relevance


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """What a fit is asked for.

    train, test: corpora, as `amix precompute` takes them.  dev: a corpus, or what else `parse_dev` reads.
    model: Hub id or folder of the encoder.  corpus: how all corpora are read; each is read from the split of its role.
    max_rejects: rows of a corpus that may be unusable, as in `PrecomputeOptions`.
    options: of training, by name. Without `epochs` their number follows from that of the texts.
    budget: seconds in which to find out what helps the corpus, instead of a `method` among the options; None = no.
    """

    train: str
    dev: str = HELD_OUT
    test: str | None = None
    model: str = MODEL
    corpus: CorpusOptions = field(default_factory=CorpusOptions)
    max_rejects: int | float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)  # Any: each of its option's type
    budget: float | None = None

    def __post_init__(self) -> None:
        config = self.config(1)  # raises ConfigError for options that cannot be
        parse_dev(self.dev)
        if reads_cached_relevance(config) and config.head != AUTO:
            for spec in HeadSpec.parse_several(config.head):
                if any(layer not in (None, 0) for layer, _ in spec.items):
                    raise HeadError(
                        f"--head {config.head}: a fit exports layer 0 alone, for speed. Name one of its heads, or mix "
                        "by other layers with the commands 'amix export', 'amix precompute' and 'amix train'."
                    )

        if self.budget is not None and config.head == AUTO:
            raise UsageError("--head auto and --method auto cannot be used together. Leave --head out.")

    def config(self, texts: int) -> TrainConfig:
        """Return the options of training on `texts` texts."""
        size = self.options.get("batch_size", BATCH_SIZE)
        epochs = min(MOST_EPOCHS, max(FEWEST_EPOCHS, math.ceil(STEPS * size / texts)))
        return TrainConfig(**{"lr": LR, "batch_size": BATCH_SIZE, "epochs": epochs, **self.options})

    def chosen(self, method: Method, p: float | None) -> "FitSettings":
        """Return the settings with what was found to help."""
        return replace(self, options={**self.options, "method": method, "p": p}, budget=None)

    def corpora(self) -> dict[str, tuple[str, CorpusOptions]]:
        """Return the corpora by role (train, dev, test), each with how it is read. The first one is that of `train`."""
        sources = {"train": self.train, "dev": None if self.dev_is_part else self.dev, "test": self.test}
        # Only the classes of the training texts are given by name: the others take them from there.
        names = {"train": self.corpus.labels}
        return {
            role: (source, replace(self.corpus, split=_split(source, role), labels=names.get(role)))
            for role, source in sources.items()
            if source is not None
        }

    def names(self) -> dict[str, str]:
        """Return how messages name the corpora, by role: with the split, where a corpus has several."""
        return {
            role: source if _is_one_split(source) else f"{source} ({options.split})"
            for role, (source, options) in self.corpora().items()
        }

    def unread(self) -> str | None:
        """Return a sentence about splits of TRAIN, a folder, that are not read though they could be."""
        if not Path(self.train).is_dir():
            return None
        found = []
        for role, given in (("dev", None if self.dev == HELD_OUT else self.dev), ("test", self.test)):
            with contextlib.suppress(CorpusError):
                if given is None and find_files(self.train, _split(self.train, role), self.corpus.config):
                    found.append(f"--{role} {shlex.quote(self.train)}")
        if not found:
            return None
        return f"{self.train}: holds other splits, which are not read. {' '.join(found)} would read them."

    @property
    def threads(self) -> int | None:
        """How many cores to use, None = all."""
        return self.config(1).threads

    @property
    def samples(self) -> int | None:
        """How many texts are drawn to train on, None = all."""
        return self.config(1).samples

    @property
    def dev_is_part(self) -> bool:
        """Whether there is no development set, or one that is taken from the training texts."""
        return not isinstance(parse_dev(self.dev), str | Path)

    @property
    def held_out(self) -> Share | None:
        """The share of the training texts that is held out, if there is one."""
        dev = parse_dev(self.dev)
        return dev if isinstance(dev, Share) else None


def _split(source: str, role: str) -> str:
    """Return the split to read: the one that is called as usual, where a corpus has splits."""
    if _is_one_split(source):
        return CorpusOptions.split
    return {"train": "train", "dev": "validation", "test": "test"}[role]


def _is_one_split(source: str) -> bool:
    try:
        is_file = Path(source).is_file()
    except OSError:
        is_file = True  # whatever is wrong with it, `find_files` says so
    return is_file or any(character in source for character in "*?[")
