"""Arguments of the Hugging Face Trainer, and models, that cannot be used with mixing."""

import logging

from transformers import PreTrainedModel, TrainingArguments

from amix.engine.base.errors import UsageError
from amix.engine.extractor.checkpoint import misfit_of
from amix.train.model.network import unwrapped

_LOG = logging.getLogger(__name__)


def check_arguments(args: TrainingArguments, multi_label: bool) -> None:
    """Raise UsageError naming an argument that cannot be used."""
    if multi_label and args.label_smoothing_factor:
        raise UsageError(
            f"label_smoothing_factor is {args.label_smoothing_factor}, which has no meaning with multi_label=True: "
            "the targets are not a distribution over classes. Set it to 0."
        )
    if args.label_names not in (None, ["labels"]):
        raise UsageError(
            f"label_names is {args.label_names}; leave it out. RelevanceCollator calls labels, label and label_ids "
            "'labels', which is what AmixTrainer reads."
        )
    if args.n_gpu > 1:
        raise UsageError(
            f"this process sees {args.n_gpu} GPUs, and would split batches over threads. Start one process "
            "per GPU (torchrun, accelerate launch), or show it one (CUDA_VISIBLE_DEVICES=0)."
        )


def check_model(model: object) -> None:
    """Raise UsageError for a model that the Trainer cannot call by name; warn where its weights may be random.

    Whether a checkpoint was read whole is known only while it is read. So what the model names as its checkpoint is
    compared with it once more, by names and shapes; the caller may have set the weights since.
    """
    if hasattr(model, "_orig_mod"):
        raise UsageError(
            "the model was wrapped by torch.compile(model), which hides from the Trainer which inputs it takes. Pass "
            "the model itself, and compile it with TrainingArguments(torch_compile=True) or with model.compile()."
        )
    if getattr(getattr(model, "config", None), "return_dict", True) is False:
        raise UsageError(
            "the model returns tuples (config.return_dict is false). Set model.config.return_dict = True."
        )
    network = unwrapped(model)  # type: ignore[arg-type]  # whatever it is: only one of transformers is looked at
    misfit = misfit_of(network) if isinstance(network, PreTrainedModel) else None
    if misfit:
        _LOG.warning(
            f"{network.name_or_path}: {misfit.sentence()} This holds for the model that AmixTrainer was given, unless "
            "you have set these weights yourself."
        )


def count_classes(model: object, multi_label: bool) -> int:
    """Return the number of classes of a classifier; raise UsageError where mixing is not defined for it."""
    config = getattr(model, "config", None)
    classes = getattr(config, "num_labels", None)
    if not isinstance(classes, int):
        raise UsageError(
            f"{type(model).__name__} has no config.num_labels; give a sequence classifier of transformers."
        )
    kind = getattr(config, "problem_type", None)
    wanted = "multi_label_classification" if multi_label else "single_label_classification"
    if kind not in (None, wanted):
        raise UsageError(
            f"the model's problem_type is {kind}, and multi_label={multi_label} means {wanted}. Make them agree."
        )
    if classes < 2 and not multi_label:
        raise UsageError(
            "the model has one label (config.num_labels), which is a regression; mixing is defined for classes. "
            "Load it with num_labels=2 or more."
        )
    return classes
