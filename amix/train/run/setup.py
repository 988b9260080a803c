"""The parts of a run before it starts: its objective, its loader, and what they need of the model."""

from accelerate import Accelerator

from amix.engine.base.errors import TrainError, UsageError
from amix.engine.base.words import counted
from amix.engine.mixing.mixer import Mixer
from amix.engine.mixing.site import hidden_layer
from amix.loaders.stream.loader import Reading, RelevanceLoader
from amix.train.model.classifier import Classifier
from amix.train.objective.mixers import build_mixer
from amix.train.objective.objective import Objective
from amix.train.objective.online import OnlineRelevance
from amix.train.options.config import TrainConfig
from amix.train.run.data.sets import Sets


def build_objective(config: TrainConfig, network: Classifier, sets: Sets) -> Objective:
    """Return what a run minimises.

    Raises HeadError for a head to be read online that the model does not have, UsageError for options that cannot be
    used with several labels a text.
    """
    online = None
    if "relevance_source" in config.uses and config.relevance_source == "online":
        online = OnlineRelevance(network, config.head, sets.manifest.relevance)
    return Objective(
        mixer=build_mixer(config, network),
        num_classes=len(sets.classes),
        multi_label=sets.manifest.multi_label,
        clean_weight=config.clean_weight,
        label_smoothing=config.label_smoothing,
        online=online,
        permuted=config.seed if config.relevance_source == "permuted" else None,
        checks_labels=False,  # `TrainingStep` does, while they are on the host
    )


def build_loader(config: TrainConfig, accelerator: Accelerator, sets: Sets) -> RelevanceLoader:
    """Return this process's part of the training texts.

    Raises TrainError or UsageError where they cannot be shared among the processes or mixed with each other.
    """
    if sets.samples < accelerator.num_processes:
        raise TrainError(
            f"{sets.training.folder}: {counted(sets.samples, 'text is', 'texts are')} too few for "
            f"{accelerator.num_processes} processes. Start fewer."
        )
    loader = RelevanceLoader(
        sets.training,
        batch_size=config.batch_size,
        group_size=config.group_size,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        seed=config.seed,
        shuffle=config.shuffle,
        window=config.window,
        bucket_batches=config.bucket_batches,
        subset=sets.subset,
        reading=Reading(
            workers=config.read_workers,
            prefetch_batches=config.prefetch_batches,
            persistent_workers=config.read_workers > 0,
            pin_memory=accelerator.device.type == "cuda",
        ),
    )
    if config.method != "none" and loader.group_size < 2:
        raise UsageError(
            f"batch_size {config.batch_size}, {accelerator.num_processes} process(es), group_size "
            f"{loader.group_size}: a row has no other row to be mixed with. Raise --batch-size or --group-size, start "
            "fewer processes, or train with --method none."
        )
    return loader


def checkpoint_gradients(network: Classifier, mixer: Mixer) -> None:
    """Have the model compute activations again in the backward pass. Raises UsageError where that cannot be done."""
    sites = [site for site in mixer.sites if hidden_layer(site) is not None]
    if sites:
        # The layers would run again without the mixing between them.
        raise UsageError(
            f"gradient_checkpointing cannot be used with mixing at {sites[0]}. Leave it out, or mix at the "
            "embeddings (--method attentionmix --level embedding)."
        )
    if not network.supports_gradient_checkpointing:
        raise UsageError(
            f"gradient_checkpointing: {type(network).__name__} does not support it. Leave it out."
        )
    # transformers 5 has another name for it, and warns of the old one.
    enable = getattr(network, "activation_checkpointing_enable", None)
    (enable or network.gradient_checkpointing_enable)({"use_reentrant": False})
