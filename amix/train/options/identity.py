"""What a run is known by: the options that decide what is trained."""

from amix.train.options.auto import AUTO, RULES
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
    """Return the options that decide what is trained, `auto` with the rule that it stands for."""
    options = {name: value for name, value in config.as_dict().items() if name not in FREE}
    for name, meaning in RULES.items():
        if options[name] == AUTO and name in config.uses:
            options[name] = f"{AUTO} ({meaning})"
    return options
