"""The options of a training run: one frozen dataclass, each with its rule.

Flags win over the file, the file over the defaults. Nothing heavy is imported here: the CLI reads its options
from this module.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from amix.engine.base.errors import ConfigError
from amix.engine.base.heads import HeadSpec
from amix.engine.mixing.site import hidden_layer
from amix.train.options.rules import Rule, rule

AUTO: Literal["auto"] = "auto"
EVEN = 0.5  # half of the rows are mixed: what attentionmix does without a development set

# What `auto` stands for, as a part of what a run is known by: under another rule it would be another run.
AUTO_RULES = {
    "p": "from 0, plus twice the confidence gap",
    "head": "ridge regression on 5 folds, its freedom counting the mean",
}

# Options that change where and how often something is done, not what comes out.
FREE = frozenset({"device", "checkpoint_steps", "checkpoints_kept", "log_steps", "eval_batch_size"})

Method = Literal["none", "wordmixup", "sentencemixup", "tmix", "ssmix", "attentionmix"]
Precision = Literal["no", "bf16", "fp16"]

# Options that only some methods use, so that the CLI can say which ones it ignores.
_MIXED = frozenset({"p", "partner", "clean_weight"})
USES: dict[str, frozenset[str]] = {
    "none": frozenset(),
    "wordmixup": _MIXED | {"alpha", "max_lambda", "pad"},
    "sentencemixup": _MIXED | {"alpha", "max_lambda"},
    "tmix": _MIXED | {"alpha", "max_lambda", "layers"},
    "ssmix": _MIXED | {"span_share"},
    "attentionmix": _MIXED
    | {
        "head",
        "relevance_source",
        "strength",
        "sharpness",
        "level",
        "label_weight",
        "special",
        "alpha",
        "tail",
    },
}
METHOD_OPTIONS = frozenset().union(*USES.values())

# Options under one name. `paper`: mixing as in AttentionMix's source (arXiv 2309.11104), every row at full strength.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "p": 1.0,
        "partner": "random",
        "clean_weight": 0.0,
        "strength": 1.0,
        "sharpness": 1.0,
        "level": "embedding",
        "label_weight": "ratio",
        "special": "drop",
        "tail": "keep",
        "alpha": None,
    }
}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a classifier is trained. Checked once, when made: a ConfigError names the option and its range."""

    method: Method = field(
        default="attentionmix", metadata=rule(str, "How batches are mixed.", choices=tuple(USES))
    )
    head: str = field(
        default="0.mean",
        metadata=rule(
            str,
            "Head spec of the relevance: 0.8, 0.mean, mean, or 0.8,1.3; 0.8|1.mean draws one per batch; auto is the "
            "one that 'amix select' ranks first for the training texts.",
        ),
    )
    relevance_source: Literal["cache", "online"] = field(
        default="cache",
        metadata=rule(
            str,
            "Relevance from the shards, or from the model in training (an attention pass per step).",
            choices=("cache", "online"),
        ),
    )
    partner: Literal["random", "other-class", "same-class", "similar-length"] = field(
        default="random",
        metadata=rule(
            str,
            "Who is mixed with whom.",
            choices=("random", "other-class", "same-class", "similar-length"),
        ),
    )
    p: float | Literal["auto"] | None = field(
        default=None,
        metadata=rule(
            float,
            "Probability per row of being mixed; auto starts at 0 and, after every epoch, grows by twice what the "
            "model is surer than right on --dev, or falls. By default 1, and for attentionmix auto with --dev, 0.5 "
            "without.",
            low=0,
            high=1,
            words=(AUTO,),
            optional=True,
        ),
    )
    clean_weight: float = field(
        default=0.0, metadata=rule(float, "Weight of the unmixed loss beside the mixed one.", low=0, high=1)
    )
    strength: float = field(
        default=1.0,
        metadata=rule(float, "How far a row moves toward its partner; 0 = not at all.", low=0, high=1),
    )
    sharpness: float = field(
        default=1.0,
        metadata=rule(float, "How much relevance decides; 0 = one half everywhere.", low=0, high=1000),
    )
    level: str = field(
        default="embedding",
        metadata=rule(str, "Where in the model attentionmix mixes: embedding, or hidden:K above K layers."),
    )
    label_weight: Literal["ratio", "mass"] = field(
        default="ratio",
        metadata=rule(str, "How the label's weight follows from the ratios.", choices=("ratio", "mass")),
    )
    special: Literal["drop", "keep"] = field(
        default="drop",
        metadata=rule(str, "Whether special tokens lose their relevance.", choices=("drop", "keep")),
    )
    tail: Literal["keep", "drop"] = field(
        default="keep",
        metadata=rule(
            str,
            "attentionmix: whether a longer partner's words behind the row's end come in.",
            choices=("keep", "drop"),
        ),
    )
    alpha: float | None = field(
        default=None,
        metadata=rule(
            float,
            "Both parameters of the Beta distribution of ratios; by default 1, for tmix 0.75, and none for "
            "attentionmix, whose pairs are even then.",
            low=0,
            above=True,
            optional=True,
        ),
    )
    max_lambda: bool | None = field(
        default=None,
        metadata=rule(
            bool, "Take the larger of ratio and 1 - ratio; by default only tmix does.", optional=True
        ),
    )
    pad: Literal["keep", "zero"] = field(
        default="keep",
        metadata=rule(
            str,
            "wordmixup: a token facing padding stays whole, or is mixed with the padding vector.",
            choices=("keep", "zero"),
        ),
    )
    layers: str = field(
        default="auto",
        metadata=rule(
            str, "tmix: numbers of layers below the mixing, 7,9,12; auto = these twelfths of the model's."
        ),
    )
    span_share: float = field(
        default=0.1, metadata=rule(float, "ssmix: length of the span as a share of the text.", low=0, high=1)
    )
    epochs: int = field(default=3, metadata=rule(int, "Passes over the shards.", low=1))
    batch_size: int = field(
        default=32, metadata=rule(int, "Samples per batch, all processes together.", low=1)
    )
    group_size: int | None = field(
        default=None,
        metadata=rule(
            int,
            "Samples of a batch that choose partners among themselves; by default the share of a process. Give it to "
            "get the same pairs under another number of processes.",
            low=1,
            optional=True,
        ),
    )
    shuffle: Literal["global", "window", "none"] = field(
        default="global",
        metadata=rule(
            str,
            "Order of the samples; window keeps few shards in use at a time, for those fetched from elsewhere.",
            choices=("global", "window", "none"),
        ),
    )
    window: int = field(
        default=65_536, metadata=rule(int, "Samples over which shuffle=window spreads a shard.", low=0)
    )
    bucket_batches: int = field(
        default=0,
        metadata=rule(int, "Batches among which samples are sorted by length; 0 = not.", low=0),
    )
    gradient_accumulation: int = field(default=1, metadata=rule(int, "Batches per optimizer step.", low=1))
    lr: float = field(default=2e-5, metadata=rule(float, "Highest learning rate.", low=0, high=1, above=True))
    warmup_ratio: float = field(
        default=0.1,
        metadata=rule(float, "Share of the steps in which the rate rises from 0.", low=0, high=1),
    )
    weight_decay: float = field(
        default=0.01, metadata=rule(float, "AdamW's decay, not applied to biases and norms.", low=0, high=1)
    )
    max_grad_norm: float = field(
        default=1.0, metadata=rule(float, "Gradients are clipped to this norm; 0 = not clipped.", low=0)
    )
    seed: int = field(
        default=0, metadata=rule(int, "Seed of head, order, dropout and mixing.", low=0, high=2**63 - 1)
    )
    train_samples: int | None = field(
        default=None,
        metadata=rule(int, "Train on so many randomly drawn samples only.", low=1, optional=True),
    )
    subset_seed: int = field(default=0, metadata=rule(int, "Seed of that draw.", low=0, high=2**63 - 1))
    eval_batch_size: int = field(default=64, metadata=rule(int, "Samples per batch when evaluating.", low=1))
    device: str | None = field(
        default=None,
        metadata=rule(str, "cpu, cuda or cuda:N; by default a GPU if there is one.", optional=True),
    )
    mixed_precision: Precision = field(
        default="no", metadata=rule(str, "Lower precision while training.", choices=("no", "bf16", "fp16"))
    )
    gradient_checkpointing: bool = field(
        default=False,
        metadata=rule(bool, "Compute activations again in the backward pass: less memory, more time."),
    )
    compile: bool = field(default=False, metadata=rule(bool, "Run the model through torch.compile."))
    patience: int | None = field(
        default=None,
        metadata=rule(int, "Stop after so many epochs without a better one on --dev.", low=1, optional=True),
    )
    checkpoint_steps: int | None = field(
        default=None,
        metadata=rule(int, "Write a checkpoint every so many optimizer steps.", low=1, optional=True),
    )
    checkpoints_kept: int = field(
        default=2, metadata=rule(int, "Newest checkpoints to keep; older ones are removed.", low=1)
    )
    log_steps: int = field(
        default=10, metadata=rule(int, "Log the loss every so many optimizer steps.", low=1)
    )

    def __post_init__(self) -> None:
        for name, each in rules().items():
            object.__setattr__(self, name, each.checked(name, getattr(self, name)))
        used = USES[self.method]
        if "head" in used and self.head != AUTO:
            HeadSpec.parse_several(self.head)
        if self.head == AUTO and self.relevance_source == "online":
            raise ConfigError(
                "head is auto; relevance_source online has no cache to rank heads by. Name one."
            )
        if "level" in used and self.level != "embedding" and hidden_layer(self.level) is None:
            raise ConfigError(
                f"level is {self.level!r}; it must be embedding or hidden:K, K layers below the mixing."
            )
        if "layers" in used and self.layers != "auto":
            self.layer_numbers(0, 0)

    def layer_numbers(self, depth: int, deepest: int) -> tuple[int, ...]:
        """Return `layers` as numbers; auto = 7, 9 and 12 of twelve (TMix), scaled to a model of `depth` layers.

        deepest: the last layer after which the model can be mixed; auto goes no further.
        Raises ConfigError for a text that is no list of different numbers.
        """
        if self.layers == "auto":
            scaled = (max(1, round(depth * twelfths / 12)) for twelfths in (7, 9, 12))
            return tuple(sorted({min(layer, deepest) for layer in scaled}))
        parts = [part.strip() for part in self.layers.split(",")]
        if len(set(parts)) < len(parts) or not all(part.isascii() and part.isdigit() for part in parts):
            raise ConfigError(
                f"layers is {self.layers!r}; it must be auto, or different numbers of layers with commas (7,9,12)."
            )
        return tuple(int(part) for part in parts)

    def settled(self, *, has_dev: bool) -> "TrainConfig":
        """Return the configuration with the `p` that a run has which selects on a development set, or does not."""
        p = self.p
        if "p" not in USES[self.method]:
            p = 1.0  # whatever was given: it is not used
        elif p is None:
            p = 1.0 if self.method != "attentionmix" else AUTO if has_dev else EVEN
        return dataclasses.replace(self, p=p)

    def reusable(self) -> "TrainConfig":
        """Return the configuration without a `p` that its method does not use: another one has its own default."""
        return self if "p" in USES[self.method] else dataclasses.replace(self, p=None)

    def identity(self) -> dict[str, Any]:
        """Return the options that decide what comes out, `auto` with the rule that it stands for."""
        options = {name: value for name, value in self.as_dict().items() if name not in FREE}
        for name, meaning in AUTO_RULES.items():
            if options[name] == AUTO and name in USES[self.method]:
                options[name] = f"{AUTO} ({meaning})"
        return options

    def as_dict(self) -> dict[str, Any]:
        """Return every option with its value, in the order of the fields."""
        return dataclasses.asdict(self)


def rules() -> dict[str, Rule]:
    """Return the rule of every option, in the order of the fields."""
    return {each.name: each.metadata["rule"] for each in dataclasses.fields(TrainConfig)}
