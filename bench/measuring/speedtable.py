"""The tables that `bench/precompute.py` prints, and the list that it writes."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from measuring import ceiling
from measuring.boundtable import Bound, bound_table, chart

VARIANTS = ALL, PAIR, FIRST = ("all heads", "layers 0-1", "layer 0")
STAGES = ("tokenize", "session", "store")
TABLE: list[Bound] = [
    (f"{ALL} / eager", f"{ALL}, text to shards, tokens/s over the transformers loop", 4.0, ">="),
    (f"{PAIR} / eager", f"{PAIR}, tokens/s over the transformers loop", 20.0, ">="),
    (f"{FIRST} / eager", f"{FIRST}, tokens/s over the transformers loop", 60.0, ">="),
    (f"{ALL} / optimum", f"{ALL}, text to shards, tokens/s over the Optimum loop", 2.5, ">="),
    (f"{ALL}, session share", "share of worker CPU time inside the session", 0.92, ">="),
    ("two workers", "2 workers over 1 worker, one thread each", 1.8, ">="),
    ("peak", "peak memory per worker at 512 tokens, GB", 1.0, "<="),
    ("growth", "growth of it from 1,000 texts to all of --long, layer 0", 0.05, "<="),
    ("scaling", "seconds per token, all of --long over 10,000 texts, layers 0-1", 1.05, "<="),
]


def report(figures: Mapping[str, Sequence[float]]) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the lines to print and the list for machines."""
    median = {figure: statistics.median(values) for figure, values in figures.items()}

    def shown(figure: str, form: str = ",.0f") -> str:
        return format(median[figure], form) if figure in median else "-"

    lines, results = bound_table(TABLE, figures)
    heads = (
        "",
        "tokens/s",
        "steady",
        "start-up",
        "padding",
        "over eager, steady",
        "of ceiling, with softmax",
    )
    lines += ["", f"| {' | '.join(heads)} |", "|---|---|---|---|---|---|---|"]
    for peer in ("eager", "optimum"):
        lines.append(f"| {peer} loop | | {shown(peer)} | - | {shown(f'{peer}, padding', '.1%')} | | |")
    for name in VARIANTS:
        cells = [
            shown(f"{name}, rate"),
            shown(f"{name}, steady"),
            f"{shown(f'{name}, start', '.2f')} s",
            shown(f"{name}, padding", ".1%"),
            f"{shown(f'{name} / eager', '.1f')}, {shown(f'{name} / eager, steady', '.1f')}",
            f"{shown(f'{name}, ceiling', '.0%')}, {shown(f'{name}, ceiling with softmax', '.0%')}",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")

    lines += ["", f"| tokens/s of one worker's stage | {' | '.join(STAGES)} | CPU in the session |"]
    lines += ["|---|---|---|---|---|"]
    for name in VARIANTS:
        stages = " | ".join(shown(f"{name}, {stage} rate") for stage in STAGES)
        lines.append(f"| {name} | {stages} | {shown(f'{name}, session share', '.1%')} |")

    lines += ["", "| operation | 10^9 per second |", "|---|---|"]
    lines += [
        f"| {kind} | {median[f'rate of {kind}'] / 1e9:.1f} |"
        for kind in (*ceiling.PRODUCTS, "exponentials")
        if f"rate of {kind}" in median
    ]
    loops = {"eager": "loop with transformers", "optimum": "loop with Optimum"}
    rates = {f"{name}, rate": f"amix, {name}" for name in VARIANTS}
    return lines, results + chart("Precompute", "tokens/s", {**loops, **rates}, figures)
