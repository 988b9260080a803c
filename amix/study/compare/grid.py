"""What is compared: the cells of a grid.

`gridfile` reads a grid from YAML and writes it.
"""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from amix.engine.base.errors import ConfigError
from amix.train.options.config import TrainConfig
from amix.train.options.dev import parse_dev
from amix.train.options.methods import USES
from amix.train.options.rules import require_set_name

Options = Mapping[str, object]  # of training, by name, as `TrainConfig` takes them

DEV = "dev"  # beside the options of training: where the development set comes from

_BY_GRID = "The grid sets it for each run."  # so that every method sees the same texts in the same order
_IN_WORKER = "A run of a comparison is a worker itself, and reads its own batches."
# Options of training that a grid does not take, each with the reason.
OWN = {
    "seed": _BY_GRID,
    "subset_seed": _BY_GRID,
    "samples": _BY_GRID,
    "read_workers": _IN_WORKER,
    "prefetch_batches": _IN_WORKER,
}


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The caches of a corpus: to train on, to select on and to report on.

    dev: a cache, or what else `parse_dev` reads.  options: of training, for this corpus.
    """

    train: str
    dev: str | None = None
    evals: Mapping[str, str] = field(default_factory=dict)
    options: Options = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Method:
    """Options of training under one label.

    seeds: its own; None = those of the grid.
    train: a cache to train on, all of it, in place of the corpus's; {corpus}, {samples} and {seed} stand for those of
        the run. So a student is compared with what its teacher's labels alone give.
    """

    options: Options = field(default_factory=dict)
    seeds: Sequence[int] | None = None
    train: str | None = None

    def cache(self, corpus: str, samples: int | None, seed: int) -> str | None:
        """Return `train` for one run."""
        if self.train is None:
            return None
        parts = {"{corpus}": corpus, "{samples}": samples_name(samples), "{seed}": str(seed)}
        return functools.reduce(lambda text, each: text.replace(*each), parts.items(), self.train)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of the grid.

    samples: number of training texts, None = all; those of a development set that is taken from them count too.
    method: its label in the grid.  dev: what selects the epoch, as `parse_dev` reads it.
    train: the cache to train on.
    """

    corpus: str
    samples: int | None
    method: str
    seed: int
    train: str
    dev: str | None
    config: TrainConfig

    @property
    def folder(self) -> Path:
        """Where the run lies in the folder of the comparison."""
        return Path(
            "runs", slug(self.corpus), samples_name(self.samples), slug(self.method), f"seed-{self.seed:02d}"
        )


@dataclass(frozen=True, kw_only=True)
class Grid:
    """All that is compared.

    model: Hub id or folder of the encoder.  corpora, methods: by name or label.
    samples: numbers of training texts (None = all), each with its options.  options: of every run.
    Options of a method win over those of a number of texts, these over those of a corpus, these over `options`.
    Options are those of training, and `dev`, which wins over the development set of a corpus.
    """

    model: str
    corpora: Mapping[str, Corpus]
    methods: Mapping[str, Method]
    seeds: Sequence[int] = (0, 1, 2, 3, 4)
    samples: Mapping[int | None, Options] = field(default_factory=lambda: {None: {}})
    options: Options = field(default_factory=dict)

    def cells(self) -> Iterator[Cell]:
        """Yield the runs, seed by seed, so that every method has as many runs when a comparison is stopped early.

        Raises ConfigError for options that no run can have.
        """
        most = max([len(self.seeds), *(len(self._seeds(method)) for method in self.methods.values())])
        for turn in range(most):
            for corpus in self.corpora:
                for samples in self.samples:
                    for label, method in self.methods.items():
                        seeds = self._seeds(method)
                        if turn < len(seeds):
                            yield self._cell(corpus, samples, label, seeds[turn])

    def _cell(self, corpus: str, samples: int | None, label: str, seed: int) -> Cell:
        given, method = self.corpora[corpus], self.methods[label]
        own = method.cache(corpus, samples, seed)
        options = {
            DEV: given.dev,
            **self.options,
            **given.options,
            **self.samples[samples],
            "method": method_of(label),
            **method.options,
            "seed": seed,
            "subset_seed": seed,
            "samples": samples if own is None else None,
        }
        dev = options.pop(DEV)
        assert isinstance(dev, str | None), "checked where it was given"
        # Settled here, so that an outcome is known by what was done, whatever the defaults will be later.
        config = TrainConfig(**options).settled(has_dev=parse_dev(dev) is not None)  # type: ignore[arg-type]  # checked there
        return Cell(
            corpus=corpus,
            samples=samples,
            method=label,
            seed=seed,
            train=own or given.train,
            dev=dev,
            config=config,
        )

    def _seeds(self, method: Method) -> Sequence[int]:
        return self.seeds if method.seeds is None else method.seeds


def samples_name(samples: int | None) -> str:
    """Return a number of training texts as files and folders name it."""
    return "all" if samples is None else str(samples)


def slug(label: str) -> str:
    """Return a label as a file name."""
    return re.sub(r"[^\w.+=-]+", "_", label).strip("_.") or "_"


def method_of(label: str) -> str:
    """Return the method that a label begins with: `attentionmix 0.8` is one of attentionmix."""
    words = label.split()
    return words[0] if words else label


def checked(grid: Grid, where: str) -> Grid:
    """Return the grid; raise ConfigError when it is empty, or two of its runs would have the same folder."""
    parts = (("methods", grid.methods), ("corpora", grid.corpora), ("samples", grid.samples))
    for name, part in parts:
        if not part:
            raise ConfigError(f"{where}: {name} is empty; name at least one.")
    for name, corpus in grid.corpora.items():
        if not corpus.evals:
            raise ConfigError(
                f"{where}: corpus '{name}' has no shards to report on. Give it 'eval: SHARDS' (--eval), or name a "
                "folder that also holds a folder 'test' of shards."
            )
        for each in corpus.evals:
            require_set_name(each, f"{where}: corpora: {name}")
    for label, method in grid.methods.items():
        if method_of(label) not in USES and "method" not in method.options:
            raise ConfigError(
                f"{where}: the label '{label}' does not begin with a method ({', '.join(USES)}). Begin it with one, "
                "or name the method with 'method:'."
            )
    seen: dict[Path, Cell] = {}
    for cell in grid.cells():
        if cell.folder in seen:
            raise ConfigError(
                f"{where}: {cell.method!r} and {seen[cell.folder].method!r} (seed {cell.seed}) would share the folder "
                f"{cell.folder}. Give them labels that differ in letters or digits, and list each seed once."
            )
        seen[cell.folder] = cell
    return grid
