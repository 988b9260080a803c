"""What a run is known by: the options that decide what is trained."""

from amix.train.options.auto import RULES
from amix.train.options.config import TrainConfig

# Options that change where and how often something is done, and not the trained model.
FREE = frozenset(
    {
        "device",
        "threads",
        "checkpoint_steps",
        "checkpoints_kept",
        "log_steps",
        "eval_batch_size",
        "read_workers",
        "prefetch_batches",
    }
)


def identity_of(config: TrainConfig) -> dict[str, object]:
    """Return the options that decide what is trained, words with the rules that they stand for."""
    options = {name: value for name, value in config.as_dict().items() if name not in FREE}
    for (name, value), meaning in RULES.items():
        if options[name] == value and name in config.uses:
            options[name] = f"{value} ({meaning})"
    return options
