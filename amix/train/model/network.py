"""What the forward pass has to know about a classifier: its core, its layers, its head, how it is wrapped.

Axes: B batch, T tokens, D width, C classes.
"""

import contextlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from amix.engine.base.errors import TrainError


def unwrapped(model: Any) -> Any:  # noqa: ANN401  a transformers model, maybe wrapped
    """Return the transformers model inside DistributedDataParallel, torch.compile and their like."""
    while True:
        inner = getattr(model, "_orig_mod", None) or getattr(model, "module", None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner


@contextlib.contextmanager
def uncompiled(model: Any) -> Iterator[None]:  # noqa: ANN401
    """Run a compiled model as it was written: what is exchanged inside it for one call is not compiled in."""
    compiled, inner = False, model
    while inner is not None:
        compiled = compiled or hasattr(inner, "_orig_mod") or inner._compiled_call_impl is not None
        inner = getattr(inner, "_orig_mod", None) or getattr(inner, "module", None)
    with torch.compiler.set_stance("force_eager") if compiled else contextlib.nullcontext():
        yield


def require_whole_batch(model: Any, what: str) -> None:  # noqa: ANN401
    """Raise TrainError for DataParallel, which scatters a batch over threads that know of no plan."""
    if isinstance(model, nn.DataParallel):
        raise TrainError(
            f"{what} cannot be done under torch.nn.DataParallel. Start one process per GPU (torchrun, "
            "accelerate launch), or show the run one GPU (CUDA_VISIBLE_DEVICES=0)."
        )


@dataclass(frozen=True)
class LayerStack:
    """The layers of a transformer.

    modules: what holds them.  depth: how many layers run.
    shared: the same module runs as several layers (ALBERT), so that layers are told apart by counting calls.
    """

    modules: nn.ModuleList
    depth: int
    shared: bool


def layer_stack(network: Any) -> LayerStack:  # noqa: ANN401
    """Return where the layers of an unwrapped classifier are. Raises TrainError where none can be told."""
    depth = getattr(network.config, "num_hidden_layers", None)
    lists = [module for module in network.base_model.modules() if isinstance(module, nn.ModuleList)]
    for name, module in network.base_model.named_modules():
        if name.rpartition(".")[2] == "albert_layer_groups" and isinstance(module, nn.ModuleList):
            return LayerStack(modules=module, depth=network.config.num_hidden_layers, shared=True)
    for module in lists:
        if len(module) == depth and not network.config.is_encoder_decoder:
            return LayerStack(modules=module, depth=depth, shared=False)
    raise TrainError(
        f"{type(network).__name__} ({network.config.model_type}): its layers cannot be told apart, so nothing can be "
        "mixed between them. Use level=embedding."
    )


def token_head(network: Any) -> nn.Module | None:  # noqa: ANN401
    """Return the head of a decoder-style classifier, which scores every token and keeps the last; else None.

    transformers calls it `score` in all of them (GPT-2, Llama, Qwen2, Mistral, ...) and in no other classifier.
    """
    head = getattr(network, "score", None)
    return head if isinstance(head, nn.Module) else None


def pad_id(network: Any) -> int:  # noqa: ANN401
    """Return the id by which a decoder-style classifier finds the last token. Raises TrainError without one."""
    found = network.config.get_text_config().pad_token_id
    if found is None:
        raise TrainError(
            f"{type(network).__name__} knows no padding token, by which it finds the last token of a text. Set "
            "model.config.pad_token_id to the id that batches are padded with."
        )
    return int(found)


def linear_head(network: Any) -> nn.Linear | None:  # noqa: ANN401
    """Return the last linear layer that is as wide as there are labels, or None."""
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    wide = [module for module in linear if module.out_features == network.config.num_labels]
    return wide[-1] if wide else None


def takes(network: Any, argument: str) -> bool:  # noqa: ANN401
    """Tell whether the forward method of an unwrapped model names `argument`."""
    return argument in inspect.signature(type(network).forward).parameters


@contextlib.contextmanager
def scoring_only(head: nn.Module, position_B: Tensor) -> Iterator[None]:
    """Show `head` (see `token_head`) nothing but the given position of every row.

    The model then finds that position wherever it looks, as it has to: of embeddings without token ids it
    would silently take the last position of the batch, padding or not.
    """

    def pick(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden_BTD, *rest = args
        row_B = torch.arange(len(hidden_BTD), device=hidden_BTD.device)
        chosen_B1D = hidden_BTD[row_B, position_B.to(hidden_BTD.device)][:, None]
        return (chosen_B1D.expand_as(hidden_BTD), *rest)

    handle = head.register_forward_pre_hook(pick)
    try:
        yield
    finally:
        handle.remove()
