"""The commands that do by hand what a fit does."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from amix.loaders.corpus import CorpusOptions
from amix.study.fit.settings import FitSettings
from amix.train.options.config import TrainConfig
from amix.train.options.identity import FREE
from amix.train.options.methods import METHOD_OPTIONS

# They do not decide what is trained, but its last bits.
_RESULT = ("device", "threads")
Words = list[str | Path]


def by_hand(settings: FitSettings, folder: Path, configs: Mapping[str, TrainConfig]) -> list[str]:
    """Return the commands, in order, for a shell. They write to `folder`.  configs: of the runs, by name."""
    extractor, shards = folder / "extractor", folder / "shards"
    commands: list[Words] = [["amix", "export", settings.model, extractor, "--layers", "0"]]
    for role, (source, corpus) in settings.corpora().items():
        words: Words = ["amix", "precompute", source, shards / role, "--extractor", extractor]
        words += _flags(CorpusOptions(), corpus)
        words += [] if role == "train" else ["--labels-from", shards / "train"]
        words += [] if settings.max_rejects is None else ["--max-rejects", _rejects(settings.max_rejects)]
        words += [] if settings.threads is None else ["--workers", str(settings.threads)]
        commands.append(words)
    sets: Words = ["--dev", settings.dev if settings.dev_is_part else shards / "dev"]
    sets += [] if settings.test is None else ["--eval", f"test={shards / 'test'}"]
    for name, config in configs.items():
        run: Words = ["amix", "train", shards / "train", folder / name, "--model", settings.model, *sets]
        commands.append(run + _flags(TrainConfig(), config, _left_out(config)))
    return [shlex.join(map(str, words)) for words in commands]


def _rejects(most: int | float) -> str:
    """Return a limit of rejects as `amix precompute` takes it."""
    return str(most) if isinstance(most, int) else f"{100 * most:g}%"


def _left_out(config: TrainConfig) -> Sequence[str]:
    unused = METHOD_OPTIONS - config.uses
    return [*unused, *(name for name in FREE if name not in _RESULT)]


def _flags(
    default: CorpusOptions | TrainConfig, options: CorpusOptions | TrainConfig, left_out: Sequence[str] = ()
) -> Words:
    """Return the options that are not as in `default`, as a command takes them."""
    words: Words = []
    for name in (each.name for each in fields(default)):
        value = getattr(options, name)
        flag = f"--{name.replace('_', '-')}"
        if name in left_out or value == getattr(default, name):
            continue
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        elif isinstance(value, tuple):
            words += [flag, ",".join(value)]
        else:
            words += [flag, str(value)]
    return words
