"""The options of a training run: one frozen dataclass, each with its type, default, help and range.

Flags win over the file, the file over the defaults. Nothing heavy is imported here: the CLI reads its options
from this module.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from amix.engine.base.errors import ConfigError
from amix.engine.base.heads import HeadSpec
from amix.engine.mixing.choices import LabelWeight, Pad, PartnerChoice, Special, Tail
from amix.engine.mixing.site import hidden_layer
from amix.train.options.auto import AUTO, EVEN, GAIN, KNOWN, LEARNT, START, times
from amix.train.options.methods import USES, Method
from amix.train.options.rules import Rule, option, rules_of

RelevanceSource = Literal["cache", "online"]
Shuffle = Literal["global", "window", "none"]
Precision = Literal["no", "bf16", "fp16"]
NoiseKind = Literal["uniform", "neighbour"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a classifier is trained. Checked once, when made: a ConfigError names the option and its range."""

    method: Method = option("attentionmix", "How batches are mixed.")
    head: str = option(
        "0.mean",
        "attentionmix: head spec of the relevance: 0.8, 0.mean, mean, or 0.8,1.3 for the mean of two. 0.8|1.mean draws "
        "one of the two for each batch. auto: the head that 'amix select' ranks first for the training texts.",
    )
    relevance_source: RelevanceSource | Literal["permuted"] = option(
        "cache",
        "attentionmix: read relevance from the shards, or from the model in training, which costs an attention pass "
        "per step. permuted is a control for experiments: relevance from the shards, each text's dealt out to its "
        "words at random.",
    )
    partner: PartnerChoice = option(
        "random",
        "Which row of the batch a row is mixed with.",
    )
    p: float | Literal["auto", "learnt"] | None = option(
        None,
        f"Probability that a row is mixed. auto starts at {START:g}; after every epoch it rises by {times(GAIN)} the "
        "confidence gap on --dev (mean confidence minus accuracy), or falls where the gap is negative. learnt: 0 until "
        f"the mean loss of an epoch is below {KNOWN:g} (more where labels are smoothed), then {EVEN:g}; soft labels, "
        f"and several a text, begin at {EVEN:g}. Without --p: 1; "
        "for attentionmix auto with --dev, and learnt without.",
        low=0,
        high=1,
    )
    clean_weight: float = option(
        0.0, "Weight of the loss on the unmixed batch; the mixed loss has the rest.", low=0, high=1
    )
    strength: float = option(
        1.0, "attentionmix: how far a row moves toward its partner; 0 = not at all.", low=0, high=1
    )
    sharpness: float = option(
        1.0,
        "attentionmix: how much a difference in relevance counts; 0 mixes every token half and half.",
        low=0,
        high=1000,
    )
    level: str = option("embedding", "attentionmix: where to mix: embedding, or hidden:K, after K layers.")
    label_weight: LabelWeight = option(
        "ratio",
        "attentionmix: weight of a row's own label: the mean ratio of its tokens, or its share of the relevance.",
    )
    special: Special = option(
        "drop", "attentionmix: whether special tokens lose their relevance or keep it, like words."
    )
    tail: Tail = option(
        "keep",
        "attentionmix: whether the words of a longer partner beyond the row's end are kept or dropped.",
    )
    alpha: float | None = option(
        None,
        "Both parameters of the Beta distribution that ratios are drawn from. Without --alpha: 1, for tmix 0.75; "
        "attentionmix then draws nothing and weighs both texts of a pair alike.",
        low=0,
        above=True,
    )
    max_lambda: bool | None = option(
        None,
        "Take the larger of the drawn ratio and 1 - ratio. Without this option only tmix does.",
    )
    pad: Pad = option(
        "keep",
        "wordmixup: keep a token that faces padding as it is, or mix it with the padding vector (zero).",
    )
    layers: str = option(
        "auto",
        "tmix: after which layers to mix, one of them drawn for each batch: 7,9,12. auto = these layers of a model of "
        "twelve, scaled to the depth of this one.",
    )
    span_share: float = option(
        0.1, "ssmix: length of the replaced span as a share of the text.", low=0, high=1
    )
    epochs: int = option(3, "How many times to go through the training texts.", low=1)
    batch_size: int = option(32, "Texts per batch, over all processes.", low=1)
    group_size: int | None = option(
        None,
        "Texts of a batch that are mixed among themselves. Without it: as many as a process has. Give it to get the "
        "same pairs under another number of processes.",
        low=1,
    )
    shuffle: Shuffle = option(
        "global",
        "Order of the texts. window reads only a few shards at a time, which suits shards that are fetched from a "
        "remote store.",
    )
    window: int = option(
        65_536, "With --shuffle window: how many texts the texts of one shard are spread over.", low=0
    )
    bucket_batches: int = option(
        0, "Sort the texts of this many batches by length, so that batches hold less padding; 0 = no.", low=0
    )
    read_workers: int = option(
        0, "Processes that read batches ahead of the training; 0 reads them in the training process.", low=0
    )
    prefetch_batches: int = option(2, "Batches that each of these processes reads ahead.", low=1)
    gradient_accumulation: int = option(1, "Batches per optimizer step.", low=1)
    lr: float = option(2e-5, "Highest learning rate.", low=0, high=1, above=True)
    warmup_ratio: float = option(
        0.1, "Share of the steps in which the learning rate rises from 0.", low=0, high=1
    )
    weight_decay: float = option(0.01, "AdamW's weight decay; biases and norms have none.", low=0, high=1)
    max_grad_norm: float = option(1.0, "Clip gradients to this norm; 0 = do not clip.", low=0)
    label_smoothing: float = option(
        0.0, "Share of every label that is spread evenly over all classes.", low=0, high=1
    )
    label_noise: float = option(
        0.0,
        "For experiments only: make each training label wrong with this probability. --subset-seed decides which.",
        low=0,
        high=1,
    )
    noise_kind: NoiseKind = option(
        "uniform",
        "For experiments only: which wrong label label_noise gives: any of the others, or that of the next class.",
    )
    seed: int = option(
        0, "Seed of the new classification head, the order, dropout and mixing.", low=0, high=2**63 - 1
    )
    samples: int | None = option(None, "Train on this many texts, drawn at random.", low=1)
    subset_seed: int = option(
        0,
        "Seed for drawing the --samples texts, and those that --dev holds out.",
        low=0,
        high=2**63 - 1,
    )
    ensemble: int | Literal["folds"] | None = option(
        None,
        "Train this many models, each with a seed of its own, and report the mean of their probabilities beside the "
        "first one, which is in model/; the others are in ensemble/. folds: the models of --dev cv:K together with the "
        "one that is trained on all texts.",
        low=2,
    )
    eval_batch_size: int = option(64, "Texts per batch when evaluating.", low=1)
    device: str | None = option(None, "cpu, cuda or cuda:N. Without it: a GPU if there is one.")
    threads: int | None = option(
        None, "Cores that one operation uses on the CPU. Without it: all that this process may use.", low=1
    )
    mixed_precision: Precision = option("no", "Train in a lower precision.")
    gradient_checkpointing: bool = option(
        False, "Compute activations again in the backward pass: less memory, more time."
    )
    compile: bool = option(False, "Run the model through torch.compile.")
    patience: int | None = option(
        None, "Stop after this many epochs in a row without a better one on --dev.", low=1
    )
    checkpoint_steps: int | None = option(None, "Write a checkpoint every this many optimizer steps.", low=1)
    checkpoints_kept: int = option(2, "How many checkpoints to keep; older ones are removed.", low=1)
    log_steps: int = option(10, "Log the loss every this many optimizer steps.", low=1)

    def __post_init__(self) -> None:
        for name, each in rules().items():
            object.__setattr__(self, name, each.checked(name, getattr(self, name)))
        used = self.uses
        if "head" in used and self.head != AUTO:
            HeadSpec.parse_several(self.head)
        if self.head == AUTO and self.relevance_source == "online":
            raise ConfigError(
                "head is auto; relevance_source online has no cache to rank heads by. Name a head."
            )
        if "level" in used and self.level != "embedding" and hidden_layer(self.level) is None:
            raise ConfigError(
                f"level is {self.level!r}; it must be embedding or hidden:K, which mixes after K layers."
            )
        if "layers" in used and self.layers != AUTO:
            self.layer_numbers(0, 0)

    @property
    def uses(self) -> frozenset[str]:
        """The options that not every method uses, those of this one."""
        return USES[self.method]

    def layer_numbers(self, depth: int, deepest: int) -> tuple[int, ...]:
        """Return `layers` as numbers; auto = 7, 9 and 12 of twelve (TMix), scaled to a model of `depth` layers.

        deepest: the last layer after which the model can be mixed; auto goes no further.
        Raises ConfigError for a text that is not a list of different numbers.
        """
        if self.layers == AUTO:
            scaled = (max(1, round(depth * twelfths / 12)) for twelfths in (7, 9, 12))
            return tuple(sorted({min(layer, deepest) for layer in scaled}))
        parts = [part.strip() for part in self.layers.split(",")]
        if len(set(parts)) < len(parts) or not all(part.isascii() and part.isdigit() for part in parts):
            raise ConfigError(
                f"layers is {self.layers!r}; it must be auto, or different numbers of layers with commas (7,9,12)."
            )
        return tuple(int(part) for part in parts)

    def settled(self, *, has_dev: bool) -> "TrainConfig":
        """Return the configuration with the `p` of a run, which depends on whether it has a development set."""
        p = self.p
        if "p" not in USES[self.method]:
            p = 1.0  # the same whatever was given, because it is not used
        elif p is None:
            p = 1.0 if self.method != "attentionmix" else AUTO if has_dev else LEARNT
        return dataclasses.replace(self, p=p)

    def reusable(self) -> "TrainConfig":
        """Return the configuration without a `p` that its method does not use: another one has its own default."""
        return self if "p" in USES[self.method] else dataclasses.replace(self, p=None)

    def as_dict(self) -> dict[str, Any]:  # each value of its option's type
        """Return every option with its value, in the order of the fields."""
        return dataclasses.asdict(self)


def rules() -> dict[str, Rule]:
    """Return the rule of every option, in the order of the fields."""
    return rules_of(TrainConfig)
