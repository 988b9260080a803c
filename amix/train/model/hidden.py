"""Mixing between two layers of a transformer of any family, in two passes.

The first pass is the model's own, every row with its own mask, and ends where the mixing is to happen. The
second one is called with the mixed rows' mask; the layers below only return again what they returned in the
first pass, and the mixed states go in (or out) where the first pass ended. So the model itself makes the masks of
both parts, in its own form, and what follows the layers (norms, pooling) sees the mixed rows' mask.
Every layer runs once; the embedding block runs twice.

Axes: B batch, T tokens, D width.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from amix.engine.base.errors import TrainError
from amix.engine.mixing.plan import Plan
from amix.train.model.classifier import Classifier, Model, Output
from amix.train.model.network import Inputs, LayerStack, layer_stack, token_head, uncompiled, unwrapped

# What is passed to layers, and what they return, differs between families: tensors, tuples, masks, caches.
Args = tuple[Any, ...]
Kwargs = dict[str, Any]
Returned = Any
Run = Callable[[int, nn.Module, Args, Kwargs], Returned]


class _Reached(Exception):
    """Ends the first pass at the layer where rows are mixed."""


class _StandIn(nn.Module):
    """Takes a layer's place for one forward pass. Only the call differs: all other attributes are the layer's."""

    def __init__(self, layer: nn.Module, run: Callable[[nn.Module, Args, Kwargs], Returned]) -> None:
        super().__init__()
        self.layer = layer
        self.run = run
        self.training = layer.training

    def forward(self, *args: Any, **kwargs: Any) -> Returned:  # noqa: ANN401  as the layer takes them
        return self.run(self.layer, args, kwargs)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  ModernBERT reads its layers' attention_type
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)


@contextlib.contextmanager
def _layers_run_by(stack: LayerStack, run: Run) -> Iterator[None]:
    """Have `run(number, layer, args, kwargs)` called for every layer, numbered from 0."""
    layers, calls = list(stack.modules), itertools.count()

    def standing_in(index: int) -> Callable[[nn.Module, Args, Kwargs], Returned]:
        return lambda layer, args, kwargs: run(next(calls) if stack.shared else index, layer, args, kwargs)

    try:
        for index, layer in enumerate(layers):
            stack.modules[index] = _StandIn(layer, standing_in(index))
        yield
    finally:
        for index, layer in enumerate(layers):
            stack.modules[index] = layer


def deepest_site(network: Classifier) -> int:
    """Return the largest number of layers of an unwrapped model that can run before rows are mixed.

    A decoder-style classifier reads one position of what its last layer returns, and there the shorter text of a pair
    has only padding.
    """
    depth: int = network.config.num_hidden_layers
    return depth if token_head(network) is None else depth - 1


def require_depth(network: Classifier, layer: int) -> LayerStack:
    """Return the layers of an unwrapped model; raise TrainError when `hidden:layer` is not among its sites."""
    stack = layer_stack(network)
    if layer > stack.depth:
        raise TrainError(
            f"hidden:{layer}: {type(network).__name__} has {stack.depth} layers, so options 'layers' and 'level' go "
            f"from 0 (what enters the first layer) to {stack.depth} (what the last one returns)."
        )
    if layer > deepest_site(network):
        raise TrainError(
            f"hidden:{layer}: {type(network).__name__} ({network.config.model_type}) reads one position of what its "
            "last layer returns: the end of the longer text, where the shorter one has only padding. Let options "
            f"'layers' and 'level' end at hidden:{stack.depth - 1}, or use --method sentencemixup."
        )
    return stack


def mixed_between_layers(model: Model, inputs: Inputs, plan: Plan, layer: int) -> Output:
    """Return the output of `model` for rows that are mixed after `layer` layers.

    inputs: of the plain rows, with their own attention mask.
    layer: the depth of the stack = what its last layer returns, before the norm that some families have after it.
    """
    network = unwrapped(model)
    stack = require_depth(network, layer)
    returned: list[Returned] = []  # by the layers below the mixing, in order
    mixed: list[Tensor] = []

    def first(number: int, module: nn.Module, args: Args, kwargs: Kwargs) -> Returned:
        if number == layer:
            mixed.append(_mix(network, plan, _states(network, args, kwargs), layer))
            raise _Reached
        returned.append(module(*args, **kwargs))
        if number + 1 == layer == stack.depth:
            mixed.append(_mix(network, plan, _first_of(returned[-1]), layer))
            raise _Reached
        return returned[-1]

    def second(number: int, module: nn.Module, args: Args, kwargs: Kwargs) -> Returned:
        if number + 1 == layer == stack.depth:
            whole = returned[number]
            return mixed[0] if isinstance(whole, Tensor) else (mixed[0], *whole[1:])
        if number < layer:
            return returned[number]
        if number > layer:
            return module(*args, **kwargs)
        return module(mixed[0], *args[1:], **kwargs) if args else module(**_with_states(kwargs, mixed[0]))

    with uncompiled(model):
        with _layers_run_by(stack, first), contextlib.suppress(_Reached):
            network(**inputs)
        if not mixed or len(returned) != layer:
            raise _impossible(network, layer, "its layers do not run one after the other")
        with _layers_run_by(stack, second):
            output: Output = model(**{**inputs, "attention_mask": plan.attention_mask})
            return output


_STATES = ("hidden_states", "x")  # as layers call their first argument


def _states(network: Classifier, args: Args, kwargs: Kwargs) -> object:
    found = [args[0]] if args else [kwargs[name] for name in _STATES if name in kwargs]
    if not found:
        raise _impossible(network, 0, "its layers take no hidden states")
    return found[0]


def _with_states(kwargs: Kwargs, states: Tensor) -> Kwargs:
    return {**kwargs, next(name for name in _STATES if name in kwargs): states}


def _first_of(output: Returned) -> object:
    return output[0] if isinstance(output, tuple | list) else output


def _mix(network: Classifier, plan: Plan, states: object, layer: int) -> Tensor:
    if not isinstance(states, Tensor) or states.shape[:2] != plan.ratio.shape:
        raise _impossible(network, layer, f"its layers pass on {getattr(states, 'shape', type(states))}")
    return plan.mix(states)


def _impossible(network: Classifier, layer: int, why: str) -> TrainError:
    return TrainError(
        f"{type(network).__name__} ({network.config.model_type}) cannot be mixed at hidden:{layer}: {why}. "
        "Use level=embedding."
    )
