"""The YAML file of a run's options: read strictly, written beside the result, the same values both ways."""

import difflib
import importlib.metadata
import platform
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from amix import __version__
from amix.engine.base import publish
from amix.engine.base.errors import ConfigError
from amix.train.options.config import TrainConfig, rules
from amix.train.options.dev import dev_text
from amix.train.options.methods import PRESETS
from amix.train.options.rules import Rule

PRESET = "preset"  # names several options at once
_INPUTS = ("shards", "model", "dev", "eval")
_VERSIONS = ("torch", "transformers", "accelerate", "numpy")  # what the numbers of a run depend on

# Options by name, as a file or the command line gives them. A value has its option's type once it was checked.
Options = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a run was made from, as its config.yaml says: shards, model, and sets. None and {}: not named.

    dev: shards, or what else `parse_dev` reads.
    """

    shards: str | None = None
    model: str | None = None
    dev: str | None = None
    evals: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """Return the lines of the file."""
        named = {"shards": self.shards, "model": self.model}
        given = {name: value for name, value in named.items() if value is not None}
        return {**given, "dev": self.dev, "eval": dict(self.evals)}

    @classmethod
    def checked(cls, path: Path, lines: Mapping[str, object]) -> "Inputs":
        """Return what the lines of a file say. Raises ConfigError naming file and key."""
        lines = {**lines, "dev": dev_text(lines.get("dev"))}
        for key, value in lines.items():
            if key != "eval" and not (isinstance(value, str) or (value is None and key == "dev")):
                raise ConfigError(f"{path}: {key} is {value!r}; it must be a folder or a name.")
        evals = lines.get("eval", {})
        if not isinstance(evals, dict) or not all(
            isinstance(each, str) for pair in evals.items() for each in pair
        ):
            raise ConfigError(f"{path}: eval must be a list of 'name: shards' lines.")
        texts = {key: value for key, value in lines.items() if isinstance(value, str)}
        return cls(evals=evals, **texts)


def read_config(path: Path) -> tuple[Options, Inputs]:
    """Return the options that a YAML file sets, and the inputs that it names.

    Raises ConfigError naming file and key: not YAML, an unknown key, a key that is there twice, a wrong value.
    """
    document = load_yaml(path)
    options, inputs, names = {}, {}, (*rules(), PRESET)
    for key, value in document.items():
        if key in names:
            options[key] = value
        elif key in _INPUTS:
            inputs[key] = value
        else:
            near = difflib.get_close_matches(str(key).replace("-", "_"), [*names, *_INPUTS], n=1)
            hint = f"Did you mean '{near[0]}'?" if near else f"The keys are: {', '.join([*names, *_INPUTS])}."
            raise ConfigError(f"{path}: unknown key '{key}'. {hint}")
    return options_from_yaml(path, options), Inputs.checked(path, inputs)


def load_yaml(path: Path) -> dict[Any, Any]:  # whatever the file holds
    """Return the 'key: value' lines of a YAML file. Raises ConfigError naming the file for anything else."""
    try:
        document = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_StrictLoader)
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{path}: cannot be read ({problem}).") from None
    except yaml.YAMLError as problem:
        raise ConfigError(f"{path}: is not valid YAML: {' '.join(str(problem).split())}.") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: holds a {type(document).__name__}; write one 'option: value' a line.")
    return document


def resolve(file_options: Options, flags: Options) -> TrainConfig:
    """Return the configuration: flags that are not None win over the file, the file over the defaults."""
    return TrainConfig(**{**file_options, **given_options(flags)})


def given_options(flags: Mapping[str, object]) -> Options:
    """Return the flags that are not None, and the options of a preset that no flag sets otherwise."""
    given: Options = {name: value for name, value in flags.items() if value is not None}
    preset = given.pop(PRESET, None)
    return given if preset is None else {**PRESETS[preset], **given}


def write_config(path: Path, config: TrainConfig, inputs: Inputs) -> None:
    """Publish the resolved configuration; `read_config` reads it back to the same values."""
    write_yaml(path, {**inputs.as_dict(), **config.as_dict()})


def write_yaml(path: Path, document: Mapping[str, object]) -> None:
    """Publish 'key: value' lines, under a comment that names the versions that wrote them."""
    text = yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True)
    versions = [f"amix {__version__}", *(f"{name} {importlib.metadata.version(name)}" for name in _VERSIONS)]
    header = f"# {', '.join(versions)}, Python {platform.python_version()}\n"
    publish.write_atomic(path, (header + text).encode())


def options_from_yaml(path: Path, given: Mapping[str, object]) -> Options:
    """Return options of training, checked, and those of a preset that no other line sets otherwise.

    Raises ConfigError naming file and option.
    """
    known = rules()
    options = {key: _option(path, key, value, known[key]) for key, value in given.items() if key != PRESET}
    if PRESET not in given:
        return options
    preset = given[PRESET]
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ConfigError(f"{path}: preset is {preset!r}; it must be one of: {', '.join(PRESETS)}.")
    return {**PRESETS[preset], **options}


def _option(path: Path, key: str, value: object, rule: Rule) -> Any:  # noqa: ANN401  of the option's own type
    if rule.kind is float and isinstance(value, str):  # YAML 1.1 reads 2e-5 as a text, since it has no point
        try:
            value = float(value)
        except ValueError:
            pass
    try:
        return rule.checked(key, value)
    except ConfigError as problem:
        raise ConfigError(f"{path}: {problem}") from None


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which PyYAML keeps the last, and takes texts as they are written.

    YAML 1.1 would read `head: 0.10` as 0.1, which is another head, and `mixed_precision: no` as False.
    """

    texts = frozenset(name for name, rule in rules().items() if rule.kind is str and not rule.optional)

    # Any: as PyYAML declares it.
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, value_node in node.value:
            if key_node.value in self.texts and isinstance(value_node, yaml.ScalarNode):
                value_node.tag = "tag:yaml.org,2002:str"
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key '{key}' is there twice", key_node.start_mark
                    )
                seen.add(key)
        return super().construct_mapping(node, deep=deep)
