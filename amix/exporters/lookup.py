"""The first layer's queries, keys and values, looked up by token in place of computed.

The first layer sees the normalised sum of what a token's word, position and type are embedded in. To normalise is to
subtract the mean and to divide by the standard deviation, and but for that division all of it is linear. So the rows
of the embeddings are multiplied with the layer's weights beforehand, and a projection of a token is the row of its word
plus that of its place, times a rate, plus a constant. Where layer 0 alone is wanted, this is most of the arithmetic.

Axes: V words, P places (position and type together), D width of the model, K width of a projection, B batch, T tokens.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_MOST_BYTES = 1 << 29  # of all tables: every worker holds them. Enough for BERT-base, not for RoBERTa-base
_MOST_PLACES = 1 << 13
_ROWS = 4096  # of an embedding that are multiplied at once


def tabulate(network: nn.Module, run: Callable[[Tensor, Tensor], object]) -> bool:
    """Replace the first layer's projections by tables, in place; return whether they could be.

    run: calls the network with ids and a mask, (B, T) int64. What the network computes is the same up to rounding where
    its modules do what their classes say; the caller compares. Tables are float32, and ids are not checked.
    """
    with _watching(network) as seen, torch.no_grad():
        ids_BT = torch.tensor([[7, 8, 9], [9, 8, 7]])
        run(ids_BT, torch.ones_like(ids_BT))
    # One projection is what ALBERT and ELECTRA have between narrow embeddings and a wider first layer.
    if seen.norm is None or not seen.is_sum or len(seen.projections) < 2 or seen.is_reused():
        return False
    width = seen.norm.normalized_shape[0] + sum(each.out_features for each in seen.projections)
    if seen.places > _MOST_PLACES or (seen.words.num_embeddings + seen.places) * width * 4 > _MOST_BYTES:
        return False
    tables, token = _Tables.of(seen), _Token()
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Embedding) and module in seen.embeddings:
            _replace(network, name, _Embedding(module, seen.embeddings.index(module), token))
        elif module is seen.norm:
            _replace(network, name, _Norm(seen.norm, tables, token))
        elif isinstance(module, nn.Linear) and module in seen.projections:
            _replace(network, name, _Projection(module, seen.norm, tables, token))
    return True


@dataclass
class _Seen:
    """What a network does up to the projections of its first layer.

    embeddings: in the order of the calls.  rows: what each returned.  normalised_BTD: what `norm` returned.
    is_sum: it was given the sum of the rows.  projections: what `normalised_BTD` was given to.
    """

    embeddings: list[nn.Embedding] = field(default_factory=list)
    rows: list[Tensor] = field(default_factory=list)
    norm: nn.LayerNorm | None = None
    normalised_BTD: Tensor | None = None
    is_sum: bool = False
    projections: list[nn.Linear] = field(default_factory=list)
    calls: Counter[nn.Module] = field(default_factory=Counter)

    def is_reused(self) -> bool:
        """Tell whether any of the modules is called for something else, too, as where layers share their weights."""
        assert self.norm is not None
        return any(self.calls[each] > 1 for each in (*self.embeddings, self.norm, *self.projections))

    @property
    def words(self) -> nn.Embedding:
        """The embedding of words: the largest."""
        return max(self.embeddings, key=lambda each: each.num_embeddings)

    @property
    def places(self) -> int:
        return math.prod(each.num_embeddings for each in self.embeddings if each is not self.words)


@dataclass(frozen=True, kw_only=True)
class _Tables:
    """Embeddings less the mean of each row, in float64: of words, and of every combination of all others.

    words: the number of the embedding of words.  sizes: how many rows each embedding has.
    """

    words_VD: Tensor
    places_PD: Tensor
    words: int
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, seen: _Seen) -> "_Tables":
        words = seen.embeddings.index(seen.words)
        weights = [each.weight.detach().double() for each in seen.embeddings]
        sizes = tuple(map(len, weights))
        words_VD = weights.pop(words)
        places_PD = torch.zeros_like(words_VD[:1])
        for weight in weights:
            places_PD = (places_PD[:, None] + weight).flatten(0, 1)
        return cls(words_VD=_centred(words_VD), places_PD=_centred(places_PD), words=words, sizes=sizes)


@dataclass
class _Token:
    """What a run hands from one module to the next: ids that each embedding got, and the rate of each token."""

    ids: dict[int, Tensor] = field(default_factory=dict)
    rate_BT1: Tensor | None = None


class _Table(nn.Module):
    """Rows for words and places, whose sums are looked up."""

    def __init__(self, tables: _Tables, token: _Token, weight_KD: Tensor | None = None) -> None:
        """Make the rows, times a weight if it is given."""
        super().__init__()
        self._words, self._sizes, self._token = tables.words, tables.sizes, token
        for name, rows_ND in (("words", tables.words_VD), ("places", tables.places_PD)):
            made_NK = rows_ND if weight_KD is None else _products(rows_ND, weight_KD)
            self.register_buffer(name, made_NK.float())

    def forward(self) -> Tensor:
        """Return the sum of two rows for each token of the run, (B, T, K)."""
        place: Tensor | None = None
        for number, size in enumerate(self._sizes):
            if number != self._words:
                ids = self._token.ids[number]
                place = ids if place is None else place * size + ids
        found_BTK = functional.embedding(self._token.ids[self._words], self.get_buffer("words"))
        if place is None:
            return found_BTK
        return found_BTK + functional.embedding(place, self.get_buffer("places"))


class _Embedding(nn.Module):
    """An embedding that notes the ids."""

    def __init__(self, embedding: nn.Embedding, number: int, token: _Token) -> None:
        super().__init__()
        self.embedding, self._number, self._token = embedding, number, token
        self.weight = embedding.weight  # families look at its type

    def forward(self, ids: Tensor) -> Tensor:
        self._token.ids[self._number] = ids
        rows: Tensor = self.embedding(ids)
        return rows


class _Norm(nn.Module):
    """The layer norm of the sum of embeddings. What it is given is not used, so that no graph computes it."""

    def __init__(self, norm: nn.LayerNorm, tables: _Tables, token: _Token) -> None:
        super().__init__()
        self.norm, self._token = norm, token
        self.centred = _Table(tables, token)

    def forward(self, _sum_BTD: Tensor) -> Tensor:
        centred_BTD: Tensor = self.centred()
        variance_BT1 = (centred_BTD * centred_BTD).sum(dim=-1, keepdim=True) / centred_BTD.shape[-1]
        self._token.rate_BT1 = (variance_BT1 + self.norm.eps).rsqrt()
        return centred_BTD * self._token.rate_BT1 * self.norm.weight + self.norm.bias


class _Projection(nn.Module):
    """A projection of the normalised sum, which is not used either."""

    def __init__(self, projection: nn.Linear, norm: nn.LayerNorm, tables: _Tables, token: _Token) -> None:
        super().__init__()
        self._token = token
        weight_KD = projection.weight.detach().double()
        self.table = _Table(tables, token, weight_KD * norm.weight.detach().double())
        shift_K = weight_KD @ norm.bias.detach().double()
        if projection.bias is not None:
            shift_K = shift_K + projection.bias.detach().double()
        self.register_buffer("shift_K", shift_K.float())

    def forward(self, _normalised_BTD: Tensor) -> Tensor:
        assert self._token.rate_BT1 is not None
        found_BTK: Tensor = self.table() * self._token.rate_BT1 + self.get_buffer("shift_K")
        return found_BTK


def _centred(rows_ND: Tensor) -> Tensor:
    return rows_ND - rows_ND.mean(dim=1, keepdim=True)


def _products(rows_ND: Tensor, weight_KD: Tensor) -> Tensor:
    """Return the rows times the weights, (N, K) float32; in parts, since float64 takes twice the room."""
    return torch.cat([(part @ weight_KD.T).float() for part in rows_ND.split(_ROWS)])


@contextmanager
def _watching(network: nn.Module) -> Iterator[_Seen]:
    """Note what the modules of a network are called with while the block runs it."""
    seen = _Seen()

    # Any: of all kinds of modules.
    def look(module: nn.Module, inputs: tuple[Any, ...], output: object) -> None:
        seen.calls[module] += 1
        given = inputs[0] if inputs else None
        if not isinstance(output, Tensor) or not isinstance(given, Tensor):
            return
        if seen.norm is None and type(module) is nn.Embedding:
            seen.embeddings.append(module)
            seen.rows.append(output)
        elif seen.norm is None and isinstance(module, nn.LayerNorm) and seen.rows:
            seen.norm, seen.normalised_BTD = module, output
            seen.is_sum = _is_sum(given, seen) and module.weight is not None and module.bias is not None
        elif seen.normalised_BTD is not None and type(module) is nn.Linear:
            if given.shape == seen.normalised_BTD.shape and torch.equal(given, seen.normalised_BTD):
                seen.projections.append(module)

    handles = [each.register_forward_hook(look) for each in network.modules()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _is_sum(given_BTD: Tensor, seen: _Seen) -> bool:
    """Tell whether a tensor is the sum of what the embeddings returned."""
    if any(row.shape[-1] != given_BTD.shape[-1] for row in seen.rows):
        return False
    total = torch.stack([row.expand_as(given_BTD) for row in seen.rows]).sum(dim=0)
    return torch.allclose(total, given_BTD, rtol=1e-5, atol=1e-6)


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)
