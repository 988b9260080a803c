"""The table of measures against their bounds that a bench prints, and the list that it writes."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal

Bound = tuple[str, str, float, Literal[">=", "<="]]  # figure, what it says, its bound, a least or a most


def bound_table(
    bounds: Sequence[Bound], figures: Mapping[str, Sequence[float]]
) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the lines to print and the list for machines, with medians of what was measured in turn."""
    lines = ["| measure | target | value | least to most |", "|---|---|---|---|"]
    results = []
    for figure, says, target, sign in bounds:
        values = figures.get(figure, [])
        value = statistics.median(values) if values else None
        shown = "-" if value is None else format(value, ".3g")
        spread = f"{min(values):.3g} to {max(values):.3g}" if values else "not measured"
        lines.append(f"| {says} | {sign} {target:g} | {shown} | {spread} |")
        results.append({"measure": says, "value": value, "target": target})
    return lines, results
