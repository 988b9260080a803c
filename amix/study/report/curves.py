"""Curves: an SVG that takes the width that is there, under text that keeps its size."""

import math
from collections.abc import Sequence
from html import escape

from amix.study.report.page import Html

Point = tuple[float, float]
_TICKS = 5


def curve(
    points: Sequence[Point],
    name: str,
    note: str,
    x_name: str,
    *,
    high: float | None = None,
    kept: float | None = None,
) -> Html:
    """Return a curve through (x, y) points; y begins at 0, and x has ticks at whole numbers only.

    name, note, x_name: plain text.  high: the end of the y axis; None = after the largest value.
    kept: the x of a point that is marked and named.  Values that are not finite are left out.
    """
    points = [point for point in points if math.isfinite(point[1])]
    if not points:
        return Html()
    xs, ys = [x for x, _ in points], [y for _, y in points]
    first, last = min(xs), max(xs)
    low = min(0.0, *ys)
    top = high if high is not None else _after(max(*ys, low + 1e-9), low)

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - first) / (last - first) if last > first else 0.5
        return 100 * across, 100 * (y - low) / (top - low)

    parts = [
        f'<hr style="bottom:{at(first, tick)[1]:.1f}%"><span class="y" style="bottom:{at(first, tick)[1]:.1f}%">'
        f"{tick:.3g}</span>"
        for tick in _ticks(low, top)
    ]
    parts += [
        f'<span class="x" style="left:{at(tick, low)[0]:.1f}%">{tick:,.0f}</span>'
        for tick in _whole_ticks(first, last)
    ]
    path = " ".join(f"{x:.2f},{100 - y:.2f}" for x, y in (at(*point) for point in points))
    parts.append(
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true"><polyline points="{path}"/></svg>'
    )
    said = f"{name} by {x_name}: from {ys[0]:.3f} at {xs[0]:,.0f} to {ys[-1]:.3f} at {xs[-1]:,.0f}"
    marked = [point for point in points if point[0] == kept]
    if marked:
        x, y = at(*marked[0])
        parts.append(f'<i class="kept" style="left:{x:.1f}%"></i>')
        said += f"; {marked[0][1]:.3f} at the {x_name} that was kept, {kept:,.0f}"
    for point in marked or (points if len(points) == 1 else []):
        x, y = at(*point)
        parts.append(f'<i class="dot" style="left:{x:.1f}%;bottom:{y:.1f}%"></i>')
    return Html(
        f"<figure><figcaption><b>{escape(name)}</b> {escape(note)}</figcaption>"
        f'<div class="plot" role="img" aria-label="{escape(said)}">{"".join(parts)}</div>'
        f'<figcaption class="across">{escape(x_name)}</figcaption></figure>'
    )


def _after(largest: float, low: float) -> float:
    """Return a round number that is not below the largest value."""
    step = _round_step((largest - low) / _TICKS)
    return math.ceil(largest / step - 1e-9) * step


def _ticks(low: float, high: float) -> list[float]:
    step = _round_step((high - low) / _TICKS)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _whole_ticks(first: float, last: float) -> list[float]:
    """Return whole numbers between two, at most about six."""
    step = max(1.0, _round_step((last - first) / _TICKS)) if last > first else 1.0
    ticks = [number * step for number in range(math.ceil(first / step), math.floor(last / step) + 1)]
    return ticks or [first]


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
