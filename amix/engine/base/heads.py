"""Head specs: which heads of an extractor or a cache are meant, parsed and printed in one place."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from amix.engine.base.errors import HeadError

Head = tuple[int, int]  # (layer, head), both zero-based

_ITEM = re.compile(r"(?P<layer>\d{1,4})\.(?P<head>\d{1,4}|mean)|(?P<all>mean)", re.ASCII)
_SET_ITEM = re.compile(r"(?P<layer>\d{1,4})(?:\.(?P<head>\d{1,4}))?", re.ASCII)
_GRAMMAR = (
    "Write LAYER.HEAD (0.8), LAYER.mean, mean, or several with commas (0.8,1.3); "
    "layers and heads count from 0."
)


@dataclass(frozen=True)
class HeadSpec:
    """One relevance vector per text: the mean over one or more heads.

    `0.8` is layer 0, head 8; `0.mean` the mean over the heads of layer 0; `mean` the mean over all heads;
    `0.8,1.3` the mean of these heads. Layers and heads count from 0.
    items: (layer, head) pairs where None stands for every one; no item twice.
    """

    items: tuple[tuple[int | None, int | None], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the spec written in `text`. Raises HeadError with the grammar when it is none."""
        items: list[tuple[int | None, int | None]] = []
        for part in text.split(","):
            match = _ITEM.fullmatch(part.strip())
            if match is None:
                raise HeadError(f"head spec '{text}': '{part.strip()}' is not understood. {_GRAMMAR}")
            layer, head = match["layer"], match["head"]
            item = (None if layer is None else int(layer), None if head in (None, "mean") else int(head))
            if item in items:
                raise HeadError(
                    f"head spec '{text}': '{part.strip()}' stands there twice. Name each head once."
                )
            items.append(item)
        return cls(tuple(items))

    @classmethod
    def parse_several(cls, text: str) -> tuple[Self, ...]:
        """Return the specs of `text`, parted by `|`, of which one is drawn for every batch: `0.8|1.mean`.

        Raises HeadError when one is no spec, or stands there twice.
        """
        specs = tuple(cls.parse(part) for part in text.split("|"))
        if len(set(specs)) < len(specs):
            raise HeadError(f"head specs '{text}': the same one stands there twice. Name each once.")
        return specs

    def __str__(self) -> str:
        return ",".join(
            "mean" if layer is None else f"{layer}.{'mean' if head is None else head}"
            for layer, head in self.items
        )

    def indices(self, available: Sequence[Head], where: str = "the cache") -> list[int]:
        """Return the positions in `available` of the heads meant, ascending; their mean is the relevance.

        Raises HeadError that lists what there is when a named head is not among `available`.
        """
        wanted: set[int] = set()
        for layer, head in self.items:
            found = [
                position
                for position, (has_layer, has_head) in enumerate(available)
                if layer in (None, has_layer) and head in (None, has_head)
            ]
            if not found:
                name = str(HeadSpec(((layer, head),)))
                raise HeadError(f"head '{name}': {where} does not hold it. It holds {describe(available)}.")
            wanted.update(found)
        return sorted(wanted)


def select_heads(text: str, available: Sequence[Head], where: str = "the extractor") -> list[int]:
    """Return the positions in `available` of a set of heads: `all`, layers (`0`), heads (`0.8`), with commas.

    Raises HeadError when the text is no set, or names a head that is not among `available`.
    """
    if text.strip() == "all":
        return list(range(len(available)))
    wanted: set[int] = set()
    for part in text.split(","):
        match = _SET_ITEM.fullmatch(part.strip())
        if match is None:
            raise HeadError(
                f"--heads '{text}': '{part.strip()}' is not understood. "
                "Write all, a layer (0), or heads (0.8,1.3)."
            )
        layer, head = int(match["layer"]), match["head"]
        found = [i for i, (ll, hh) in enumerate(available) if ll == layer and head in (None, str(hh))]
        if not found:
            raise HeadError(
                f"--heads '{part.strip()}': {where} does not hold it. It holds {describe(available)}."
            )
        wanted.update(found)
    return sorted(wanted)


def describe(available: Sequence[Head]) -> str:
    """Return the heads as text: `layers 0-5: heads 0-11`, or `layer 0: heads 0-11; layer 1: heads 3, 7`."""
    layers: dict[int, list[int]] = {}
    for layer, head in sorted(available):
        layers.setdefault(layer, []).append(head)
    alike: dict[str, list[int]] = {}
    for layer, heads in layers.items():
        alike.setdefault(_ranges(heads), []).append(layer)
    return "; ".join(
        f"{'layers' if len(same) > 1 else 'layer'} {_ranges(same)}: heads {heads}"
        for heads, same in alike.items()
    )


def _ranges(numbers: Sequence[int]) -> str:
    whole = len(numbers) > 2 and list(numbers) == list(range(numbers[0], numbers[-1] + 1))
    return f"{numbers[0]}-{numbers[-1]}" if whole else ", ".join(map(str, numbers))
