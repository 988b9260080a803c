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
        found = _summary(figures.get(figure, []))
        shown, spread = "-", "not measured"
        if found["turns"]:
            shown, spread = f"{found['value']:.3g}", f"{found['least']:.3g} to {found['most']:.3g}"
        lines.append(f"| {says} | {sign} {target:g} | {shown} | {spread} |")
        results.append({"measure": says, **found, "target": target, "bound": sign})
    return lines, results


def chart(
    title: str, unit: str, names: Mapping[str, str], figures: Mapping[str, Sequence[float]]
) -> list[dict[str, Any]]:
    """Return the same list for figures that belong side by side, as far as they were measured. names: by figure."""
    return [
        {"chart": title, "unit": unit, "measure": name, **_summary(figures[figure]), "target": None}
        for figure, name in names.items()
        if figures.get(figure)
    ]


def _summary(values: Sequence[float]) -> dict[str, float | int | None]:
    if not values:
        return {"value": None, "turns": 0}
    return {
        "value": statistics.median(values),
        "least": min(values),
        "most": max(values),
        "turns": len(values),
    }
