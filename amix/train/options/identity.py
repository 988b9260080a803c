"""What a run is known by: the options that decide what is trained."""

from amix.train.options.auto import AUTO, RULES
from amix.train.options.config import USES, TrainConfig

# Options that change where and how often something is done, and not the trained model.
FREE = frozenset(
    {
        "device",
        "checkpoint_steps",
        "checkpoints_kept",
        "log_steps",
        "eval_batch_size",
        "read_workers",
        "prefetch_batches",
    }
)

# Options that came after the first runs were kept, each with the value under which a run is what it was before. With it
# an option is no part of the identity, so those runs are still found.
LATER: dict[str, object] = {"label_smoothing": 0.0, "label_noise": 0.0, "noise_kind": "uniform"}


def identity_of(config: TrainConfig) -> dict[str, object]:
    """Return the options that decide what is trained, `auto` with the rule that it stands for."""
    options = {
        name: value
        for name, value in config.as_dict().items()
        if name not in FREE and (name not in LATER or LATER[name] != value)
    }
    for name, meaning in RULES.items():
        if options[name] == AUTO and name in USES[config.method]:
            options[name] = f"{AUTO} ({meaning})"
    return options
