"""The options of a training run: one frozen dataclass, a strict YAML loader, and the file beside the result.

Flags win over the file, the file over the defaults. Nothing heavy is imported here: the CLI reads its options
from this module.
"""

import dataclasses
import difflib
import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from amix.engine import publish
from amix.engine.errors import ConfigError
from amix.engine.heads import HeadSpec

Method = Literal["none", "wordmixup", "attentionmix"]
Precision = Literal["no", "bf16", "fp16"]

# Options that only some methods use, so that the CLI can say which ones it ignores.
USES: dict[str, frozenset[str]] = {
    "none": frozenset(),
    "wordmixup": frozenset({"p", "clean_weight", "alpha"}),
    "attentionmix": frozenset(
        {"head", "p", "clean_weight", "strength", "sharpness", "level", "label_weight", "special"}
    ),
}
METHOD_OPTIONS = frozenset().union(*USES.values())

# What a saved config.yaml says beside the options: where the run's parts came from.
INPUTS = ("shards", "model", "dev", "eval")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What an option may be.

    low, high: inclusive bounds of a number; `above` excludes the lower one.
    choices: of a text.  optional: None is allowed.  text: one line of help.
    """

    kind: type[int] | type[float] | type[str]
    text: str
    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    choices: tuple[str, ...] = ()
    optional: bool = False

    def checked(self, name: str, value: object) -> Any:  # noqa: ANN401
        """Return `value`, integers as floats where floats are meant. Raises ConfigError naming the option."""
        if value is None and self.optional:
            return None
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not self.kind or (isinstance(value, float) and not math.isfinite(value)):
            raise ConfigError(f"{name} is {value!r}; it must be {self.meaning()}.")
        if isinstance(value, str):
            fits = not self.choices or value in self.choices
        else:
            assert isinstance(value, int | float)
            fits = self.low <= value <= self.high and not (self.above and value == self.low)
        if not fits:
            raise ConfigError(f"{name} is {value!r}; it must be {self.meaning()}.")
        return value

    def meaning(self) -> str:
        """Return what the option may be as words: `a number between 0 and 1`."""
        if self.kind is str:
            return f"one of: {', '.join(self.choices)}" if self.choices else "a text"
        words = "a whole number" if self.kind is int else "a number"
        if self.low > -math.inf and self.high < math.inf and not self.above:
            return f"{words} between {self.low:g} and {self.high:g}"
        if self.low > -math.inf:
            words += f" above {self.low:g}" if self.above else f", at least {self.low:g}"
        return words + (f", at most {self.high:g}" if self.high < math.inf else "")


def _rule(
    kind: type[int] | type[float] | type[str],
    text: str,
    **rest: Any,  # noqa: ANN401  the other fields of Rule
) -> dict[str, Rule]:
    return {"rule": Rule(kind=kind, text=text, **rest)}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a classifier is trained. Checked once, when made: a ConfigError names the option and its range."""

    method: Method = field(
        default="attentionmix", metadata=_rule(str, "How batches are mixed.", choices=tuple(USES))
    )
    head: str = field(
        default="0.mean", metadata=_rule(str, "Head spec of the relevance: 0.8, 0.mean, mean, or 0.8,1.3.")
    )
    p: float = field(default=1.0, metadata=_rule(float, "Probability per row of being mixed.", low=0, high=1))
    clean_weight: float = field(
        default=0.0, metadata=_rule(float, "Weight of the unmixed loss beside the mixed one.", low=0, high=1)
    )
    strength: float = field(
        default=1.0,
        metadata=_rule(float, "How far a row moves toward its partner; 0 = not at all.", low=0, high=1),
    )
    sharpness: float = field(
        default=1.0,
        metadata=_rule(float, "How much relevance decides; 0 = one half everywhere.", low=0, high=1000),
    )
    level: Literal["embedding"] = field(
        default="embedding", metadata=_rule(str, "Where in the model to mix.", choices=("embedding",))
    )
    label_weight: Literal["ratio", "mass"] = field(
        default="ratio",
        metadata=_rule(str, "How the label's weight follows from the ratios.", choices=("ratio", "mass")),
    )
    special: Literal["drop", "keep"] = field(
        default="drop",
        metadata=_rule(str, "Whether special tokens lose their relevance.", choices=("drop", "keep")),
    )
    alpha: float = field(
        default=1.0, metadata=_rule(float, "Parameter of wordmixup's Beta distribution.", low=0, above=True)
    )
    epochs: int = field(default=3, metadata=_rule(int, "Passes over the shards.", low=1))
    batch_size: int = field(default=32, metadata=_rule(int, "Samples per batch.", low=1))
    gradient_accumulation: int = field(default=1, metadata=_rule(int, "Batches per optimizer step.", low=1))
    lr: float = field(
        default=2e-5, metadata=_rule(float, "Highest learning rate.", low=0, high=1, above=True)
    )
    warmup_ratio: float = field(
        default=0.1,
        metadata=_rule(float, "Share of the steps in which the rate rises from 0.", low=0, high=1),
    )
    weight_decay: float = field(
        default=0.01, metadata=_rule(float, "AdamW's decay, not applied to biases and norms.", low=0, high=1)
    )
    max_grad_norm: float = field(
        default=1.0, metadata=_rule(float, "Gradients are clipped to this norm; 0 = not clipped.", low=0)
    )
    seed: int = field(
        default=0, metadata=_rule(int, "Seed of head, order, dropout and mixing.", low=0, high=2**63 - 1)
    )
    train_samples: int | None = field(
        default=None,
        metadata=_rule(int, "Train on so many randomly drawn samples only.", low=1, optional=True),
    )
    subset_seed: int = field(default=0, metadata=_rule(int, "Seed of that draw.", low=0, high=2**63 - 1))
    eval_batch_size: int = field(default=64, metadata=_rule(int, "Samples per batch when evaluating.", low=1))
    device: str | None = field(
        default=None,
        metadata=_rule(str, "cpu, cuda or cuda:N; by default a GPU if there is one.", optional=True),
    )
    mixed_precision: Precision = field(
        default="no", metadata=_rule(str, "Lower precision while training.", choices=("no", "bf16", "fp16"))
    )
    checkpoint_steps: int | None = field(
        default=None,
        metadata=_rule(int, "Write a checkpoint every so many optimizer steps.", low=1, optional=True),
    )
    log_steps: int = field(
        default=10, metadata=_rule(int, "Log the loss every so many optimizer steps.", low=1)
    )

    def __post_init__(self) -> None:
        for name, rule in rules().items():
            object.__setattr__(self, name, rule.checked(name, getattr(self, name)))
        if "head" in USES[self.method]:
            HeadSpec.parse(self.head)

    def as_dict(self) -> dict[str, Any]:
        """Return every option with its value, in the order of the fields."""
        return dataclasses.asdict(self)


def rules() -> dict[str, Rule]:
    """Return the rule of every option, in the order of the fields."""
    return {each.name: each.metadata["rule"] for each in dataclasses.fields(TrainConfig)}


def read_config(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options that a YAML file sets, and what it says of the run's inputs (`INPUTS`).

    Raises ConfigError naming file and key: not YAML, an unknown key, a key that stands twice, a wrong value.
    """
    try:
        document = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_StrictLoader)
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{path}: cannot be read ({problem}).") from None
    except yaml.YAMLError as problem:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(problem).split())}.") from None
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: holds a {type(document).__name__}; write one 'option: value' a line.")

    known, options, inputs = rules(), {}, {}
    for key, value in document.items():
        if key in known:
            options[key] = _from_yaml(path, key, value, known[key])
        elif key in INPUTS:
            inputs[key] = _input(path, key, value)
        else:
            near = difflib.get_close_matches(str(key).replace("-", "_"), [*known, *INPUTS], n=1)
            hint = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join([*known, *INPUTS])}."
            raise ConfigError(f"{path}: unknown key '{key}'. {hint}")
    return options, inputs


def resolve(file_options: Mapping[str, Any], flags: Mapping[str, Any]) -> TrainConfig:
    """Return the configuration: flags that are not None win over the file, the file over the defaults."""
    given = {name: value for name, value in flags.items() if value is not None}
    return TrainConfig(**{**file_options, **given})


def write_config(path: Path, config: TrainConfig, inputs: Mapping[str, Any]) -> None:
    """Publish the resolved configuration; `read_config` reads it back to the same values."""
    text = yaml.safe_dump({**inputs, **config.as_dict()}, sort_keys=False, allow_unicode=True)
    publish.write_atomic(path, text.encode())


def _from_yaml(path: Path, key: str, value: object, rule: Rule) -> Any:  # noqa: ANN401
    if rule.kind is float and isinstance(value, str):  # YAML 1.1 takes 2e-5, which lacks a point, for a text
        try:
            value = float(value)
        except ValueError:
            pass
    try:
        return rule.checked(key, value)
    except ConfigError as problem:
        raise ConfigError(f"{path}: {problem}") from None


def _input(path: Path, key: str, value: object) -> Any:  # noqa: ANN401
    if key == "eval":
        if not isinstance(value, dict) or not all(
            isinstance(k, str) and isinstance(v, str) for k, v in value.items()
        ):
            raise ConfigError(f"{path}: eval must be a list of 'name: shards' lines.")
    elif not (isinstance(value, str) or (value is None and key == "dev")):
        raise ConfigError(f"{path}: {key} is {value!r}; it must be a folder or a name.")
    return value


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice, where PyYAML keeps the last, and takes texts as they are written.

    YAML 1.1 would read `head: 0.10` as 0.1, which is another head, and `mixed_precision: no` as False.
    """

    texts = frozenset(name for name, rule in rules().items() if rule.kind is str and not rule.optional)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, value_node in node.value:
            if key_node.value in self.texts and isinstance(value_node, yaml.ScalarNode):
                value_node.tag = "tag:yaml.org,2002:str"
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key '{key}' stands twice", key_node.start_mark
                    )
                seen.add(key)
        return super().construct_mapping(node, deep=deep)
