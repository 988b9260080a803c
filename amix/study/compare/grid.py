"""What is compared: the cells of the grid, from a YAML file or from flags."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amix.engine.base.errors import ConfigError, UsageError
from amix.loaders.shards.manifest import MANIFEST
from amix.loaders.shards.remote import is_remote
from amix.train.options.config import USES, TrainConfig, rules
from amix.train.options.file import PRESET, load_yaml, options_from_yaml
from amix.train.options.rules import require_set_name

Options = Mapping[str, Any]

# Each cell sets these itself, so that every method sees the same texts in the same order.
_OWN = ("seed", "subset_seed", "samples")
_PARTS = {
    "train": ("train",),
    "dev": ("validation", "dev"),
    "test": ("test",),
}  # subfolders of a cache folder


@dataclass(frozen=True, kw_only=True)
class Cache:
    """Shards to train on, to select on and to report on.  options: of training, for this cache."""

    train: str
    dev: str | None = None
    evals: Mapping[str, str] = field(default_factory=dict)
    options: Options = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of the grid.  size: training texts, None = all.  method: its label, which names the options."""

    cache: str
    size: int | None
    method: str
    seed: int
    config: TrainConfig

    @property
    def folder(self) -> Path:
        """Where the run lies in the folder of the comparison."""
        size = "all" if self.size is None else str(self.size)
        return Path("runs", slug(self.cache), size, slug(self.method), f"seed-{self.seed:02d}")


@dataclass(frozen=True, kw_only=True)
class Grid:
    """All that is compared.

    model: Hub id or folder of the encoder.  methods: options by label, `seeds` of its own among them.
    sizes: training texts (None = all), each with options of its own.  options: of every run.
    Options of a method win over those of a size, these over those of a cache, these over `options`.
    """

    model: str
    caches: Mapping[str, Cache]
    methods: Mapping[str, Options]
    seeds: Sequence[int] = (0, 1, 2, 3, 4)
    sizes: Mapping[int | None, Options] = field(default_factory=lambda: {None: {}})
    options: Options = field(default_factory=dict)

    def cells(self) -> Iterator[Cell]:
        """Yield the runs, seed by seed, so that a comparison that is stopped early is even.

        Raises ConfigError for options that no run can have.
        """
        most = max([len(self.seeds), *(len(self._seeds(options)) for options in self.methods.values())])
        for turn in range(most):
            for name, cache in self.caches.items():
                for size, of_size in self.sizes.items():
                    for method, options in self.methods.items():
                        seeds = self._seeds(options)
                        if turn < len(seeds):
                            yield self._cell(name, cache, size, of_size, method, options, seeds[turn])

    def _cell(
        self,
        name: str,
        cache: Cache,
        size: int | None,
        of_size: Options,
        method: str,
        options: Options,
        seed: int,
    ) -> Cell:
        own = {key: value for key, value in options.items() if key != "seeds"}
        merged = {**self.options, **cache.options, **of_size, "method": method_of(method), **own}
        seeded = {"seed": seed, "subset_seed": seed, "samples": size}
        # Settled here, so that the outcome is known by what was done, whatever the defaults will be.
        config = TrainConfig(**{**merged, **seeded}).settled(has_dev=self.caches[name].dev is not None)
        return Cell(cache=name, size=size, method=method, seed=seed, config=config)

    def _seeds(self, options: Options) -> Sequence[int]:
        seeds: Sequence[int] = options.get("seeds", self.seeds)
        return seeds


def slug(label: str) -> str:
    """Return a label as a file name."""
    return re.sub(r"[^\w.+=-]+", "_", label).strip("_.") or "_"


def method_of(label: str) -> str:
    """Return the method that a label begins with: `attentionmix 0.8` is one of attentionmix."""
    words = label.split()
    return words[0] if words else label


def read_grid(path: Path) -> Grid:
    """Read a comparison from YAML (see docs/comparing.md). Raises ConfigError naming file and key."""
    document = load_yaml(path)
    _known(path, "", document, ("model", "caches", "methods", "seeds", "sizes", "options"))
    for key in ("model", "caches", "methods"):
        if key not in document:
            raise ConfigError(f"{path}: '{key}' is missing.")
    if not isinstance(document["model"], str):
        raise ConfigError(f"{path}: model is {document['model']!r}; it must be a Hub id or a folder.")
    caches = {
        str(name): _cache(path, str(name), value)
        for name, value in _mapping(path, document, "caches").items()
    }
    methods = {}
    for label, value in _mapping(path, document, "methods").items():
        options = dict(value or {}) if isinstance(value, Mapping | None) else None
        if options is None:
            raise ConfigError(f"{path}: methods: {label} is {value!r}; write options of training under it.")
        seeds = {"seeds": _seeds(path, options.pop("seeds"))} if "seeds" in options else {}
        methods[str(label)] = {**_options(path, f"methods: {label}", options), **seeds}
    sizes = document.get("sizes", ["all"])
    if not isinstance(sizes, Mapping | list):
        raise ConfigError(f"{path}: sizes is {sizes!r}; write a list, [100, all], or 'size: options' lines.")
    entries = sizes.items() if isinstance(sizes, Mapping) else [(size, None) for size in sizes]
    return checked(
        Grid(
            model=document["model"],
            caches=caches,
            methods=methods,
            seeds=_seeds(path, document.get("seeds", 5)),
            sizes={
                parse_size(str(size), str(path)): _options(path, f"sizes: {size}", value or {})
                for size, value in entries
            },
            options=_options(path, "options", document.get("options") or {}),
        ),
        str(path),
    )


def checked(grid: Grid, where: str) -> Grid:
    """Return the grid; raise ConfigError when it is empty, or two of its runs would have the same folder."""
    for name, methods in (("methods", grid.methods), ("caches", grid.caches), ("sizes", grid.sizes)):
        if not methods:
            raise ConfigError(f"{where}: no {name} are named; name at least one.")
    for name, cache in grid.caches.items():
        if not cache.evals:
            raise ConfigError(
                f"{where}: cache '{name}' has no shards to report on. Give it 'eval: SHARDS' (--eval), or name a "
                "folder that holds those of 'test', too."
            )
        for each in cache.evals:
            require_set_name(each, f"{where}: caches: {name}")
    for label in grid.methods:
        if method_of(label) not in USES and "method" not in grid.methods[label]:
            raise ConfigError(
                f"{where}: method '{label}' begins with none of {', '.join(USES)}. Begin its label with one, or say "
                "which it is with 'method:'."
            )
    seen: dict[Path, Cell] = {}
    for cell in grid.cells():
        if cell.folder in seen:
            raise ConfigError(
                f"{where}: {cell.method!r} and {seen[cell.folder].method!r} (seed {cell.seed}) would share the folder "
                f"{cell.folder}. Give them labels that differ in letters or digits, and each seed once."
            )
        seen[cell.folder] = cell
    return grid


def cache_of(folder: str, dev: str | None = None, evals: Mapping[str, str] | None = None) -> Cache:
    """Return the cache that a folder is: shards, or a folder that holds those of `train`, `validation` and `test`.

    Raises UsageError for a folder that is neither.
    """
    if is_remote(folder) or (Path(folder) / MANIFEST).is_file():
        return Cache(train=folder, dev=dev, evals=evals or {})
    found = {
        part: next(
            (str(Path(folder, name)) for name in names if Path(folder, name, MANIFEST).is_file()), None
        )
        for part, names in _PARTS.items()
    }
    if found["train"] is None:
        raise UsageError(
            f"{folder}: holds no shards, and no folders 'train', 'validation' and 'test' of shards. Name what 'amix "
            "precompute' wrote."
        )
    test = {} if found["test"] is None else {"test": found["test"]}
    return Cache(train=found["train"], dev=dev or found["dev"], evals=evals or test)


def parse_size(text: str, where: str) -> int | None:
    """Return a number of training texts; `all` is None. Raises ConfigError."""
    if text == "all":
        return None
    if not text.isdigit() or int(text) < 1:
        raise ConfigError(f"{where}: size {text!r} is no number of training texts, and not 'all'.")
    return int(text)


def _cache(path: Path, name: str, value: object) -> Cache:
    if isinstance(value, str):
        return cache_of(value)
    if not isinstance(value, Mapping) or not isinstance(value.get("train"), str):
        raise ConfigError(f"{path}: caches: {name} needs 'train: SHARDS'.")
    _known(path, f"caches: {name}: ", value, ("train", "dev", "eval", "options"))
    evals = value.get("eval") or {}
    if isinstance(evals, str):
        evals = {"test": evals}
    dev = value.get("dev")
    is_named = isinstance(evals, Mapping) and all(isinstance(each, str) for each in evals.values())
    if not isinstance(dev, str | None) or not is_named:
        raise ConfigError(f"{path}: caches: {name}: dev and eval must be shards, eval maybe several by name.")
    options = _options(path, f"caches: {name}: options", value.get("options") or {})
    return Cache(train=value["train"], dev=dev, evals={str(k): v for k, v in evals.items()}, options=options)


def _options(path: Path, where: str, given: object) -> Options:
    if not isinstance(given, Mapping):
        raise ConfigError(f"{path}: {where} is {given!r}; write 'option: value' lines.")
    _known(path, f"{where}: ", given, (*(name for name in rules() if name not in _OWN), PRESET))
    return options_from_yaml(path, given)


def _mapping(path: Path, document: Mapping[str, Any], key: str) -> Mapping[object, Any]:
    if not isinstance(document[key], Mapping):
        raise ConfigError(f"{path}: {key} must be 'name: ...' lines.")
    found: Mapping[object, Any] = document[key]
    return found


def _seeds(path: Path, value: object) -> Sequence[int]:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return range(value)
    if isinstance(value, list) and value and all(type(each) is int and each >= 0 for each in value):
        return value
    raise ConfigError(f"{path}: seeds is {value!r}; write how many, or a list of them.")


def _known(path: Path, where: str, given: Mapping[Any, Any], names: Sequence[str]) -> None:
    for key in given:
        if key not in names:
            near = difflib.get_close_matches(str(key).replace("-", "_"), names, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(names)}."
            own = " The grid sets it for each run." if key in _OWN else ""
            raise ConfigError(f"{path}: {where}unknown key '{key}'.{own} {hint}")


def as_document(grid: Grid) -> dict[str, Any]:
    """Return what `read_grid` reads the same runs from, as JSON values."""
    return {
        "model": grid.model,
        "options": dict(grid.options),
        "caches": {
            name: {
                "train": cache.train,
                "dev": cache.dev,
                "eval": dict(cache.evals),
                "options": dict(cache.options),
            }
            for name, cache in grid.caches.items()
        },
        "sizes": {
            "all" if size is None else str(size): dict(options) for size, options in grid.sizes.items()
        },
        "seeds": list(grid.seeds),
        "methods": {
            label: {key: list(value) if key == "seeds" else value for key, value in options.items()}
            for label, options in grid.methods.items()
        },
    }
