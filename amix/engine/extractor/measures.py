"""What an export measured, as `extractor.json` keeps it: how far its graphs are from the encoder, head by head."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

_PROBES = "probes"  # a key of the document, beside the names of the graphs


@dataclass(frozen=True, kw_only=True)
class GraphParity:
    """How far one graph is from the encoder in eager PyTorch.

    max_abs: largest absolute difference.  relative_l2: norm of the difference over the norm of the reference.
    """

    max_abs: float
    relative_l2: float


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How far each graph of a folder is from the encoder in eager PyTorch.

    graphs: by backend.  probes: texts and tokens of each batch that was compared.
    """

    graphs: Mapping[str, GraphParity] = field(default_factory=dict)
    probes: tuple[tuple[int, int], ...] = ()

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:  # Any: JSON, checked here
        """Read what `as_document` returned. Raises KeyError, TypeError or ValueError where it is malformed."""
        return cls(
            graphs={
                backend: GraphParity(
                    max_abs=float(report["max_abs"]), relative_l2=float(report["relative_l2"])
                )
                for backend, report in document.items()
                if backend != _PROBES
            },
            probes=tuple((int(texts), int(tokens)) for texts, tokens in document.get(_PROBES, ())),
        )

    def as_document(self) -> dict[str, object]:
        """Return the value of `parity` in `extractor.json`."""
        return {**{backend: asdict(report) for backend, report in self.graphs.items()}, _PROBES: self.probes}


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One measure of all heads.

    per_head: in the order of the extractor's heads.  best, median, worst: over heads.  worst_head: as a head spec.
    """

    per_head: tuple[float, ...]
    best: float
    median: float
    worst: float
    worst_head: str

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:  # Any: JSON, checked here
        """Read what `dataclasses.asdict` returned. Raises KeyError, TypeError or ValueError if it is malformed."""
        return cls(
            per_head=tuple(float(value) for value in document["per_head"]),
            best=float(document["best"]),
            median=float(document["median"]),
            worst=float(document["worst"]),
            worst_head=str(document["worst_head"]),
        )

    def over_heads(self) -> dict[str, float | str]:
        """Return the figures without those of single heads, by name."""
        return {
            "best": self.best,
            "median": self.median,
            "worst": self.worst,
            "worst_head": self.worst_head,
        }


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """What a dtype other than float32 costs: how far relevance is from the encoder's own on real text.

    texts, tokens: how much was compared.
    relative_l2: norm of the difference over the norm of the reference, over all tokens of all texts; 0 = equal.
    rank_correlation: Spearman's, over the content tokens of a text, mean over texts; 1 = same order.
    """

    texts: int
    tokens: int
    relative_l2: Measure
    rank_correlation: Measure

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:  # Any: JSON, checked here
        """Read what `dataclasses.asdict` returned. Raises KeyError, TypeError or ValueError if it is malformed."""
        return cls(
            texts=int(document["texts"]),
            tokens=int(document["tokens"]),
            relative_l2=Measure.from_document(document["relative_l2"]),
            rank_correlation=Measure.from_document(document["rank_correlation"]),
        )
