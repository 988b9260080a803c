"""What the forward pass has to know about a classifier: its core, its layers, its head, how it is wrapped.

Axes: B batch, T tokens, D width, C classes.
"""

import contextlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import torch
from torch import Tensor, nn

from amix.engine.base.errors import TrainError
from amix.train.model.classifier import Classifier, Model


class Inputs(TypedDict):
    """What a classifier is called with."""

    input_ids: NotRequired[Tensor]
    inputs_embeds: NotRequired[Tensor]
    attention_mask: Tensor
    token_type_ids: NotRequired[Tensor]
    use_cache: NotRequired[bool]


def unwrapped(model: Model) -> Classifier:
    """Return the transformers model inside wrappers such as DistributedDataParallel and torch.compile."""
    inner: Any = model  # whatever wraps it, down to what has no inner module
    while isinstance(
        within := getattr(inner, "_orig_mod", None) or getattr(inner, "module", None), nn.Module
    ):
        inner = within
    found: Classifier = inner
    return found


@contextlib.contextmanager
def uncompiled(model: Model) -> Iterator[None]:
    """Run a compiled model uncompiled, so that parts replaced inside it for one call are not compiled into it."""
    inner: Any = model  # the wrappers of torch name what they wrap in attributes of their own
    compiled = False
    while inner is not None:
        compiled = compiled or hasattr(inner, "_orig_mod") or inner._compiled_call_impl is not None
        inner = getattr(inner, "_orig_mod", None) or getattr(inner, "module", None)
    with torch.compiler.set_stance("force_eager") if compiled else contextlib.nullcontext():
        yield


def require_whole_batch(model: Model, what: str) -> None:
    """Raise TrainError for DataParallel, which scatters a batch over threads that have no plan."""
    if isinstance(model, nn.DataParallel):
        raise TrainError(
            f"{what} cannot be done under torch.nn.DataParallel. Start one process per GPU (torchrun, "
            "accelerate launch), or show the run one GPU (CUDA_VISIBLE_DEVICES=0)."
        )


@dataclass(frozen=True)
class LayerStack:
    """The layers of a transformer.

    modules: what holds them.  depth: how many layers run.
    shared: the same module runs as several layers (ALBERT), so that only counting the calls tells the layers apart.
    """

    modules: nn.ModuleList
    depth: int
    shared: bool


def layer_stack(network: Classifier) -> LayerStack:
    """Return where the layers of an unwrapped classifier are. Raises TrainError where they are not found."""
    depth = getattr(network.config, "num_hidden_layers", None)
    lists = [module for module in network.base_model.modules() if isinstance(module, nn.ModuleList)]
    for name, module in network.base_model.named_modules():
        if name.rpartition(".")[2] == "albert_layer_groups" and isinstance(module, nn.ModuleList):
            return LayerStack(modules=module, depth=network.config.num_hidden_layers, shared=True)
    for module in lists:
        if len(module) == depth and not network.config.is_encoder_decoder:
            return LayerStack(modules=module, depth=depth, shared=False)
    raise TrainError(
        f"{type(network).__name__} ({network.config.model_type}): its layers were not found, so nothing can be mixed "
        "between them. Use level=embedding."
    )


def token_head(network: Classifier) -> nn.Module | None:
    """Return the head of a decoder-style classifier, which scores every token and keeps the last; else None.

    transformers calls it `score` in all of them (GPT-2, Llama, Qwen2, Mistral, ...) and in no other classifier.
    """
    head = getattr(network, "score", None)
    return head if isinstance(head, nn.Module) else None


def pad_id(network: Classifier) -> int:
    """Return the id by which a decoder-style classifier finds the last token. Raises TrainError without one."""
    found = network.config.get_text_config().pad_token_id
    if found is None:
        raise TrainError(
            f"{type(network).__name__} has no padding token, which it needs to find the last token of a text. Set "
            "model.config.pad_token_id to the id that batches are padded with."
        )
    return int(found)


def linear_head(network: Classifier) -> nn.Linear | None:
    """Return the last linear layer that is as wide as there are labels, or None."""
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    wide = [module for module in linear if module.out_features == network.config.num_labels]
    return wide[-1] if wide else None


def takes(network: Classifier, argument: str) -> bool:
    """Tell whether the forward method of an unwrapped model has the parameter `argument`."""
    return argument in inspect.signature(type(network).forward).parameters


@contextlib.contextmanager
def scoring_only(head: nn.Module, position_B: Tensor) -> Iterator[None]:
    """Show `head` (see `token_head`) nothing but the given position of every row.

    The model then finds it at whatever position it reads. It has to: given embeddings without token ids, it
    would silently read the last position of the batch, padding or not.
    """

    def pick(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden_BTD, *rest = args
        row_B = torch.arange(len(hidden_BTD), device=hidden_BTD.device)
        chosen_B1D = hidden_BTD[row_B, position_B.to(hidden_BTD.device)][:, None]
        return (chosen_B1D.expand_as(hidden_BTD), *rest)

    handle = head.register_forward_pre_hook(pick)
    try:
        yield
    finally:
        handle.remove()
