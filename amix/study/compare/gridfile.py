"""A grid as a document: read strictly from YAML (see docs/comparing.md), and written with what was run."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

from amix.engine.base.errors import ConfigError, UsageError
from amix.loaders.shards.manifest import MANIFEST
from amix.loaders.stores import is_remote
from amix.study.compare.grid import DEV, OWN, Corpus, Grid, Method, Options, checked, samples_name
from amix.train.options.config import rules
from amix.train.options.dev import dev_text, parse_dev
from amix.train.options.file import PRESET, load_yaml, options_from_yaml

Document = Mapping[object, object]

# The subfolders that a folder of a corpus holds, by what they are for.
_PARTS = {"train": ("train",), "dev": ("validation", "dev"), "test": ("test",)}


def read_grid(path: Path) -> Grid:
    """Read a comparison from YAML. Raises ConfigError naming file and key."""
    return grid_of(load_yaml(path), path)


def grid_of(document: Document, path: Path) -> Grid:
    """Return the grid that a document of the file `path` describes. Raises ConfigError naming file and key."""
    _require_known(path, "", document, ("model", "corpora", "methods", "seeds", "samples", "options"))
    for key in ("model", "corpora", "methods"):
        if key not in document:
            raise ConfigError(f"{path}: '{key}' is missing.")
    model = document["model"]
    if not isinstance(model, str):
        raise ConfigError(f"{path}: model is {model!r}; it must be a Hub id or a folder.")
    grid = Grid(
        model=model,
        corpora={
            str(name): _corpus(path, str(name), value)
            for name, value in _mapping(path, "corpora", document["corpora"]).items()
        },
        methods={
            str(label): _method(path, str(label), value)
            for label, value in _mapping(path, "methods", document["methods"]).items()
        },
        seeds=_seeds(path, document.get("seeds", 5)),
        samples=_samples(path, document.get("samples", ["all"])),
        options=_options(path, "options", document.get("options")),
    )
    return checked(grid, str(path))


def as_document(grid: Grid) -> dict[str, object]:
    """Return what `grid_of` reads the same grid from, as JSON values."""
    return {
        "model": grid.model,
        "options": dict(grid.options),
        "corpora": {
            name: {
                "train": corpus.train,
                "dev": corpus.dev,
                "eval": dict(corpus.evals),
                "options": dict(corpus.options),
            }
            for name, corpus in grid.corpora.items()
        },
        "samples": {samples_name(samples): dict(options) for samples, options in grid.samples.items()},
        "seeds": list(grid.seeds),
        "methods": {
            label: {
                **method.options,
                **({} if method.seeds is None else {"seeds": list(method.seeds)}),
                **({} if method.train is None else {"train": method.train}),
            }
            for label, method in grid.methods.items()
        },
    }


def corpus_of(folder: str, dev: str | None = None, evals: Mapping[str, str] | None = None) -> Corpus:
    """Return the corpus in a folder: shards, or a folder with the shards of `train`, `validation` and `test`.

    Raises UsageError for a folder that is neither.
    """
    if is_remote(folder) or (Path(folder) / MANIFEST).is_file():
        return Corpus(train=folder, dev=dev, evals=evals or {})
    found = {
        part: next(
            (str(Path(folder, name)) for name in names if Path(folder, name, MANIFEST).is_file()), None
        )
        for part, names in _PARTS.items()
    }
    train, test = found["train"], found["test"]
    if train is None:
        raise UsageError(
            f"{folder}: holds no shards, and no folders 'train', 'validation' and 'test' of shards. Name what 'amix "
            "precompute' wrote."
        )
    return Corpus(
        train=train, dev=dev or found["dev"], evals=evals or ({} if test is None else {"test": test})
    )


def parse_samples(text: str, where: str) -> int | None:
    """Return a number of training texts; `all` is None. Raises ConfigError."""
    if text == "all":
        return None
    if not text.isdigit() or int(text) < 1:
        raise ConfigError(
            f"{where}: {text!r} is not a number of training texts. Write a number from 1, or all."
        )
    return int(text)


def _corpus(path: Path, name: str, value: object) -> Corpus:
    if isinstance(value, str):
        return corpus_of(value)
    where = f"corpora: {name}"
    if not isinstance(value, Mapping) or not isinstance(train := value.get("train"), str):
        raise ConfigError(f"{path}: {where} needs 'train: SHARDS'.")
    _require_known(path, f"{where}: ", value, ("train", "dev", "eval", "options"))
    evals = value.get("eval") or {}
    if isinstance(evals, str):
        evals = {"test": evals}
    if not isinstance(evals, Mapping) or not all(isinstance(each, str) for each in evals.values()):
        raise ConfigError(f"{path}: {where}: eval must be shards, or several 'name: SHARDS' lines.")
    dev = _dev(path, where, value.get("dev"))
    options = _options(path, f"{where}: options", value.get("options"))
    return Corpus(
        train=train, dev=dev, evals={str(key): each for key, each in evals.items()}, options=options
    )


def _method(path: Path, label: str, value: object) -> Method:
    if not isinstance(value, Mapping | None):
        raise ConfigError(f"{path}: methods: {label} is {value!r}; write options of training under it.")
    options = dict(value or {})
    seeds = _seeds(path, options.pop("seeds")) if "seeds" in options else None
    train = options.pop("train", None)
    if not isinstance(train, str | None):
        raise ConfigError(f"{path}: methods: {label}: train is {train!r}; name shards.")
    return Method(options=_options(path, f"methods: {label}", options), seeds=seeds, train=train)


def _samples(path: Path, value: object) -> dict[int | None, Options]:
    if not isinstance(value, Mapping | list):
        raise ConfigError(
            f"{path}: samples is {value!r}; write a list, [100, all], or 'number: options' lines."
        )
    entries = value.items() if isinstance(value, Mapping) else [(number, None) for number in value]
    return {
        parse_samples(str(number), f"{path}: samples"): _options(path, f"samples: {number}", options)
        for number, options in entries
    }


def _options(path: Path, where: str, given: object) -> Options:
    if not isinstance(given, Mapping | None):
        raise ConfigError(f"{path}: {where} is {given!r}; write 'option: value' lines.")
    names = (*(name for name in rules() if name not in OWN), PRESET, DEV)
    options = dict(given or {})
    _require_known(path, f"{where}: ", options, names)
    if DEV not in options:
        return options_from_yaml(path, options)
    dev = _dev(path, where, options.pop(DEV))
    if dev is None or isinstance(parse_dev(dev), str):
        raise ConfigError(
            f"{path}: {where}: dev is {dev!r}; here it must be a share of the training texts (0.2), folds of them "
            "(cv:5), or none. Shards are of one corpus: name them there."
        )
    return {**options_from_yaml(path, options), DEV: dev}


def _dev(path: Path, where: str, value: object) -> str | None:
    """Return what `dev` names. Raises ConfigError for what it cannot be."""
    text = dev_text(value)
    if not isinstance(text, str | None):
        raise ConfigError(
            f"{path}: {where}: dev is {value!r}; name shards, or a share of the training texts."
        )
    try:
        parse_dev(text)
    except ConfigError as problem:
        raise ConfigError(f"{path}: {where}: {problem}") from None
    return text


def _mapping(path: Path, key: str, value: object) -> Document:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{path}: {key} must be 'name: ...' lines.")
    return value


def _seeds(path: Path, value: object) -> Sequence[int]:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return range(value)
    if isinstance(value, list) and value and all(type(each) is int and each >= 0 for each in value):
        return value
    raise ConfigError(f"{path}: seeds is {value!r}; write how many, or a list of them.")


def _require_known(path: Path, where: str, given: Document, names: Sequence[str]) -> None:
    for key in given:
        if key not in names:
            near = difflib.get_close_matches(str(key).replace("-", "_"), names, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else f"Known keys: {', '.join(names)}."
            own = f" {OWN[key]}" if key in OWN else ""
            raise ConfigError(f"{path}: {where}unknown key '{key}'.{own} {hint}")
