"""What the figures are held against: ratios within a turn, computed from what was measured."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from gpu.journal import Figure

NO_CARD = "none: tried on the CPU, and nothing here is a measurement"
OURS = ("onnxruntime float16", "triton float16")


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A figure, or its ratio to another within a turn, and what it should reach."""

    says: str
    figure: str
    over: str | None = None
    bound: float
    sign: Literal[">=", "<="] = ">="

    def values(self, figures: Iterable[Figure]) -> list[float]:
        """Return the value of every turn in which all that it needs was measured."""
        found = {(each.name, each.turn): each.value for each in figures}
        own = {turn: value for (name, turn), value in found.items() if name == self.figure}
        if self.over is None:
            return list(own.values())
        return [value / found[self.over, turn] for turn, value in own.items() if found.get((self.over, turn))]

    def verdict(self, values: Sequence[float]) -> str:
        """Return `met`, `missed` or `not measured`, by the median."""
        if not values:
            return "not measured"
        middle = statistics.median(values)
        return "met" if (middle >= self.bound if self.sign == ">=" else middle <= self.bound) else "missed"


def session(variant: str, ours: str) -> str:
    """Return the name of the figure of a session alone. variant: as in `minilm, all heads`."""
    return f"{variant}, session {ours}"


def _goals() -> tuple[Goal, ...]:
    found = []
    for ours in OURS:
        for heads, over, bound in (
            ("all heads", "eager bfloat16", 3.0),
            ("all heads", "SDPA bfloat16, no maps", 1.0),
            ("layers 0-1", "eager bfloat16", 10.0),
            ("layer 0", "eager bfloat16", 25.0),
        ):
            found.append(
                Goal(
                    says=f"MiniLM, {heads}, {ours}, over {over}",
                    figure=session(f"minilm, {heads}", ours),
                    over=f"minilm, {over}",
                    bound=bound,
                )
            )
        found.append(
            Goal(
                says=f"MiniLM, all heads, {ours}: text to shards, start-up left out, over the session alone",
                figure=f"minilm, all heads, text to shards, {ours}, steady",
                over=session("minilm, all heads", ours),
                bound=0.7,
            )
        )
    for backend in ("onnxruntime", "triton"):
        for dtype, bound in (("float32", 1e-4), ("float16", 1e-3)):
            found.append(
                Goal(
                    says=f"MiniLM, {backend} {dtype}: relative L2 difference to float32 on the CPU",
                    figure=f"minilm, parity, {backend} {dtype}, relative L2",
                    bound=bound,
                    sign="<=",
                )
            )
    found.append(
        Goal(
            says="Triton to be the default: its float16 session, MiniLM, all heads, over that of ONNX Runtime",
            figure=session("minilm, all heads", OURS[1]),
            over=session("minilm, all heads", OURS[0]),
            bound=1.0,
        )
    )
    found.append(
        Goal(
            says="training step with cached relevance over the plain one",
            figure="step, attentionmix over none",
            bound=1.02,
            sign="<=",
        )
    )
    return tuple(found)


GOALS = _goals()
