"""Which heads of an extractor or a cache are meant: head specs, and lists of heads (`--heads`).

Everything that is written about heads is parsed and printed here.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from amix.engine.base.errors import HeadError

Head = tuple[int, int]  # (layer, head), both zero-based
Item = tuple[int | None, int | None]  # the same, where None means every layer or every head

_ITEM = re.compile(r"(?P<layer>\d{1,4})(?:\.(?P<head>\d{1,4}|mean))?|(?P<word>all|mean)", re.ASCII)
_SPEC_GRAMMAR = (
    "Write LAYER.HEAD (0.8), LAYER.mean, mean, or several with commas (0.8,1.3); "
    "layers and heads count from 0."
)
_LIST_GRAMMAR = (
    "Write all, a layer (0), a head (0.8), the mean of a layer (0.mean), mean, or several with commas; "
    "layers and heads count from 0."
)


@dataclass(frozen=True)
class HeadSpec:
    """The heads whose mean gives a text its relevance.

    `0.8` is layer 0, head 8; `0.mean` the mean over the heads of layer 0; `mean` the mean over all heads;
    `0.8,1.3` the mean of these heads. Layers and heads count from 0.
    items: (layer, head) pairs, where None means every layer or every head; no item twice.
    """

    items: tuple[Item, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the spec written in `text`. Raises HeadError with the grammar for anything else."""
        items: list[Item] = []
        for part in text.split(","):
            written = part.strip()
            match = _ITEM.fullmatch(written)
            if match is None or _names_each(match):
                raise HeadError(f"head spec '{text}': '{written}' is not understood. {_SPEC_GRAMMAR}")
            item = _item(match)
            if item in items:
                raise HeadError(f"head spec '{text}': '{written}' is listed twice. Name each head once.")
            items.append(item)
        return cls(tuple(items))

    @classmethod
    def parse_several(cls, text: str) -> tuple[Self, ...]:
        """Return the specs in `text`, separated by `|`; one of them is drawn for every batch: `0.8|1.mean`.

        Raises HeadError when one is not a spec, or is listed twice.
        """
        specs = tuple(cls.parse(part) for part in text.split("|"))
        if len(set(specs)) < len(specs):
            raise HeadError(f"head specs '{text}': the same one is listed twice. Name each once.")
        return specs

    def __str__(self) -> str:
        return ",".join(
            "mean" if layer is None else f"{layer}.{'mean' if head is None else head}"
            for layer, head in self.items
        )

    def indices(self, available: Sequence[Head], where: str = "the cache") -> list[int]:
        """Return the positions in `available` of the heads of this spec, ascending.

        where: what holds them, for the message.
        Raises HeadError, which lists what there is, when an item matches none of `available`.
        """
        wanted: set[int] = set()
        for item in self.items:
            found = _positions(item, available)
            if not found:
                raise _missing(f"head '{HeadSpec((item,))}'", available, where)
            wanted.update(found)
        return sorted(wanted)


def select_heads(text: str, available: Sequence[Head], where: str = "the extractor") -> list[int]:
    """Return the positions in `available` of the single heads that `--heads` names, ascending.

    text: items with commas: `all`, a layer (`0`) or a head (`0.8`).  where: what holds the heads, for the message.
    Raises HeadError for an item that is not understood, that is a mean, or that matches none of `available`.
    """
    wanted: set[int] = set()
    for written, match in _listed(text, available, where):
        if "mean" in (match["head"], match["word"]):
            raise HeadError(
                f"--heads '{text}': '{written}' is a mean, and shards store single heads. Name the heads "
                f"(all, 0 or 0.8): any mean of them can be read from the shards. {_holds(available, where)}"
            )
        wanted.update(_positions(_item(match), available))
    return sorted(wanted)


def candidate_specs(text: str, available: Sequence[Head], where: str = "the cache") -> list[HeadSpec]:
    """Return the head specs that `--heads` names to be compared or ranked, in the order written, each once.

    text: items with commas: a head (`0.8`) or a mean (`0.mean`, `mean`) is a spec; `all` and a layer (`0`) stand
    for each of their heads.  where: what holds the heads, for the message.
    Raises HeadError for an item that is not understood, or that matches none of `available`.
    """
    specs: dict[HeadSpec, None] = {}
    for _, match in _listed(text, available, where):
        item = _item(match)
        each = [available[position] for position in _positions(item, available)]
        items = each if _names_each(match) else [item]
        specs.update(dict.fromkeys(HeadSpec((named,)) for named in items))
    return list(specs)


def describe(available: Sequence[Head]) -> str:
    """Return the heads as text: `layers 0-5: heads 0-11`, or `layer 0: heads 0-11; layer 1: heads 3, 7`."""
    layers: dict[int, list[int]] = {}
    for layer, head in sorted(available):
        layers.setdefault(layer, []).append(head)
    alike: dict[str, list[int]] = {}
    for layer, heads in layers.items():
        alike.setdefault(f"{'heads' if len(heads) > 1 else 'head'} {_ranges(heads)}", []).append(layer)
    return "; ".join(
        f"{'layers' if len(same) > 1 else 'layer'} {_ranges(same)}: {heads}" for heads, same in alike.items()
    )


def _ranges(numbers: Sequence[int]) -> str:
    whole = len(numbers) > 2 and list(numbers) == list(range(numbers[0], numbers[-1] + 1))
    return f"{numbers[0]}-{numbers[-1]}" if whole else ", ".join(map(str, numbers))


def _listed(text: str, available: Sequence[Head], where: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Yield the items of `--heads` as written and as matched. Raises HeadError."""
    for part in text.split(","):
        written = part.strip()
        match = _ITEM.fullmatch(written)
        if match is None:
            raise HeadError(
                f"--heads '{text}': '{written}' is not understood. {_LIST_GRAMMAR} {_holds(available, where)}"
            )
        if not _positions(_item(match), available):
            raise _missing(f"--heads '{written}'", available, where)
        yield written, match


def _item(match: re.Match[str]) -> Item:
    """Return what an item names: `0.8` one head, `0` and `0.mean` those of a layer, `all` and `mean` every head."""
    layer, head = match["layer"], match["head"]
    return (None if layer is None else int(layer), None if head in (None, "mean") else int(head))


def _names_each(match: re.Match[str]) -> bool:
    """Return whether an item stands for each of its heads (`all`, `0`), and not for one head or a mean."""
    return match["word"] == "all" or (match["layer"] is not None and match["head"] is None)


def _positions(item: Item, available: Sequence[Head]) -> list[int]:
    layer, head = item
    return [
        position
        for position, (has_layer, has_head) in enumerate(available)
        if layer in (None, has_layer) and head in (None, has_head)
    ]


def _missing(what: str, available: Sequence[Head], where: str) -> HeadError:
    return HeadError(f"{what}: {where} does not hold it. It holds {describe(available)}.")


def _holds(available: Sequence[Head], where: str) -> str:
    return f"What {where} holds: {describe(available)}."
