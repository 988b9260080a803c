"""Mixing between two layers of a transformer of any family, in two passes.

The first pass is the model's own, every row with its own mask, and ends where the mixing is to happen. The
second one is called with the mixed rows' mask; the layers below only hand on what they said in the first pass,
and the mixed states go in (or out) where the first pass ended. So the model itself makes the masks of both
parts, in whatever form it likes them, and what follows the layers (norms, pooling) sees the mixed rows' mask.
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
from amix.train.model.network import LayerStack, layer_stack, token_head, uncompiled, unwrapped

Args = tuple[Any, ...]
Run = Callable[[int, nn.Module, Args, dict[str, Any]], Any]


class _Reached(Exception):
    """The first pass is where it was to go."""


class _StandIn(nn.Module):
    """Stands in a layer's place for one forward pass; everything but the call is the layer's own."""

    def __init__(self, layer: nn.Module, run: Callable[[nn.Module, Args, dict[str, Any]], Any]) -> None:
        super().__init__()
        self.layer = layer
        self.run = run
        self.training = layer.training

    def forward(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
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

    def standing_in(index: int) -> Callable[[nn.Module, Args, dict[str, Any]], Any]:
        return lambda layer, args, kwargs: run(next(calls) if stack.shared else index, layer, args, kwargs)

    try:
        for index, layer in enumerate(layers):
            stack.modules[index] = _StandIn(layer, standing_in(index))
        yield
    finally:
        for index, layer in enumerate(layers):
            stack.modules[index] = layer


def deepest_site(network: Any) -> int:  # noqa: ANN401
    """Return how many layers of an unwrapped model can run before rows are mixed, at most.

    A decoder-style classifier reads one position of what its last layer returns, where the shorter text of a pair has
    nothing.
    """
    depth: int = network.config.num_hidden_layers
    return depth if token_head(network) is None else depth - 1


def require_depth(network: Any, layer: int) -> LayerStack:  # noqa: ANN401
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
            "last layer returns, the end of the longer text, which faces padding and so holds nothing of the shorter "
            f"one. Let options 'layers' and 'level' end at hidden:{stack.depth - 1}, or use --method sentencemixup."
        )
    return stack


def mixed_between_layers(model: Any, inputs: dict[str, Any], plan: Plan, layer: int) -> Any:  # noqa: ANN401
    """Return the output of `model` for rows that are mixed after `layer` layers.

    inputs: of the plain rows, with their own attention mask.
    The depth of the stack means: what its last layer returns, before a norm that some families have after it.
    """
    network = unwrapped(model)
    stack = require_depth(network, layer)
    said: list[Any] = []  # by the layers below, in order
    mixed: list[Tensor] = []

    def first(number: int, module: nn.Module, args: Args, kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
        if number == layer:
            mixed.append(_mix(network, plan, _states(network, args, kwargs), layer))
            raise _Reached
        said.append(module(*args, **kwargs))
        if number + 1 == layer == stack.depth:
            mixed.append(_mix(network, plan, _first_of(said[-1]), layer))
            raise _Reached
        return said[-1]

    def second(number: int, module: nn.Module, args: Args, kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
        if number + 1 == layer == stack.depth:
            whole = said[number]
            return mixed[0] if isinstance(whole, Tensor) else (mixed[0], *whole[1:])
        if number < layer:
            return said[number]
        if number > layer:
            return module(*args, **kwargs)
        return module(mixed[0], *args[1:], **kwargs) if args else module(**_with_states(kwargs, mixed[0]))

    with uncompiled(model):
        with _layers_run_by(stack, first), contextlib.suppress(_Reached):
            network(**inputs)
        if not mixed or len(said) != layer:
            raise _impossible(network, layer, "its layers do not run one after the other")
        with _layers_run_by(stack, second):
            return model(**{**inputs, "attention_mask": plan.attention_mask})


_STATES = ("hidden_states", "x")  # as layers call their first argument


def _states(network: Any, args: Args, kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
    found = [args[0]] if args else [kwargs[name] for name in _STATES if name in kwargs]
    if not found:
        raise _impossible(network, 0, "its layers take no hidden states")
    return found[0]


def _with_states(kwargs: dict[str, Any], states: Tensor) -> dict[str, Any]:
    return {**kwargs, next(name for name in _STATES if name in kwargs): states}


def _first_of(output: Any) -> Any:  # noqa: ANN401
    return output if isinstance(output, Tensor) else output[0]


def _mix(network: Any, plan: Plan, states: Any, layer: int) -> Tensor:  # noqa: ANN401
    if not isinstance(states, Tensor) or states.shape[:2] != plan.ratio.shape:
        raise _impossible(network, layer, f"its layers pass on {getattr(states, 'shape', type(states))}")
    return plan.mix(states)


def _impossible(network: Any, layer: int, why: str) -> TrainError:  # noqa: ANN401
    return TrainError(
        f"{type(network).__name__} ({network.config.model_type}) cannot be mixed at hidden:{layer}: {why}. "
        "Use level=embedding."
    )
