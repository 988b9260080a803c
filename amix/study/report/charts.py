"""Charts as SVG text, whose colours come from the style of the page, which has a dark mode."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

_WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 12, 44
_SERIES = 6  # colours of the style


class Interval(NamedTuple):
    """A difference and the interval around it."""

    label: str
    mean: float
    low: float
    high: float


def lines(series: Mapping[str, Sequence[tuple[float, float]]], x_name: str, y_name: str) -> str:
    """Return curves through (x, y) points, one for each name, with a legend below."""
    points = [point for each in series.values() for point in each if math.isfinite(point[1])]
    if not points:
        return ""
    x_scale = _Scale([x for x, _ in points], _LEFT, _WIDTH - _RIGHT)
    y_scale = _Scale([y for _, y in points], _HEIGHT - _BOTTOM, _TOP)
    parts = [_axes(x_scale, y_scale, x_name)]
    for number, each in enumerate(series.values()):
        path = " ".join(f"{x_scale(x):.1f},{y_scale(y):.1f}" for x, y in each if math.isfinite(y))
        parts.append(f'<polyline class="s{number % _SERIES}" points="{path}"/>')
        if len(each) == 1:
            parts.append(
                f'<circle class="s{number % _SERIES}" cx="{path.split(",")[0]}" cy="{path.split(",")[1]}" r="3"/>'
            )
    return _figure(f"{y_name} over {x_name}", parts, legend=list(series))


def reliability(samples: Sequence[float], confidence: Sequence[float], accuracy: Sequence[float]) -> str:
    """Return a reliability diagram: the accuracy of each bin of confidence against the diagonal.

    Bars are wider where a bin has more texts.
    """
    scale_x = _Scale([0.0, 1.0], _LEFT, _WIDTH - _RIGHT, nice=False)
    scale_y = _Scale([0.0, 1.0], _HEIGHT - _BOTTOM, _TOP, nice=False)
    parts = [_axes(scale_x, scale_y, "confidence")]
    parts.append(
        f'<line class="rule" x1="{scale_x(0):.1f}" y1="{scale_y(0):.1f}" x2="{scale_x(1):.1f}" y2="{scale_y(1):.1f}"/>'
    )
    most = max([*samples, 1.0])
    slot = (scale_x(1) - scale_x(0)) / max(len(samples), 1)
    for count, sure, right in zip(samples, confidence, accuracy, strict=True):
        if count <= 0:
            continue
        width = max(3.0, 0.9 * slot * math.sqrt(count / most))
        top, foot = sorted((scale_y(right), scale_y(sure)))
        says = f"{count:,.0f} texts, confidence {sure:.3f}, accuracy {right:.3f}"
        parts.append(
            f'<g><title>{says}</title><rect class="gap" x="{scale_x(sure) - width / 2:.1f}" y="{top:.1f}" '
            f'width="{width:.1f}" height="{max(foot - top, 0.5):.1f}"/>'
            f'<circle class="s0" cx="{scale_x(sure):.1f}" cy="{scale_y(right):.1f}" r="4"/></g>'
        )
    return _figure("accuracy by confidence; the line is perfect calibration", parts)


def heat_map(
    values: Sequence[Sequence[float | None]], rows: Sequence[str], columns: Sequence[str], name: str
) -> str:
    """Return a grid of cells with their values; a larger value is darker."""
    known = [value for row in values for value in row if value is not None and math.isfinite(value)]
    low, high = min(known, default=0.0), max(known, default=1.0)
    cell, side = 46, 64
    width, height = side + cell * len(columns), 24 + 26 * len(rows)
    parts = [
        f'<text class="tick" x="{side + cell * (place + 0.5):.0f}" y="14" text-anchor="middle">{escape(column)}</text>'
        for place, column in enumerate(columns)
    ]
    for line, (row, label) in enumerate(zip(values, rows, strict=True)):
        y = 22 + 26 * line
        parts.append(
            f'<text class="tick" x="{side - 8}" y="{y + 17}" text-anchor="end">{escape(label)}</text>'
        )
        for place, value in enumerate(row):
            if value is None or not math.isfinite(value):
                continue
            share = (value - low) / (high - low) if high > low else 0.5
            x = side + cell * place
            parts.append(
                f"<g><title>{escape(label)}, {escape(columns[place])}: {value:.4g}</title>"
                f'<rect class="cell" x="{x + 1}" y="{y}" width="{cell - 2}" height="24" rx="3" '
                f'style="--share:{100 * share:.0f}%"/><text class="value" x="{x + cell / 2:.0f}" y="{y + 16}" '
                f'text-anchor="middle">{_narrow(value)}</text></g>'
            )
    return _figure(name, parts, width, height)


def intervals(found: Sequence[Interval], name: str) -> str:
    """Return differences as dots with their intervals, against a line at zero."""
    if not found:
        return ""
    left = 16 + 7 * max(len(each.label) for each in found)
    height = 40 + 26 * len(found)
    ends = [0.0, *(each.low for each in found), *(each.high for each in found)]
    scale = _Scale(ends, left, _WIDTH - _RIGHT)
    parts = [
        f'<line class="rule" x1="{scale(0):.1f}" y1="6" x2="{scale(0):.1f}" y2="{height - 30}"/>',
        *_x_ticks(scale, height - 30),
    ]
    for number, each in enumerate(found):
        y = 18 + 26 * number
        says = f"{escape(each.label)}: {each.mean:+.4f}, from {each.low:+.4f} to {each.high:+.4f}"
        parts.append(
            f"<g><title>{says}</title>"
            f'<text class="tick" x="{left - 8}" y="{y + 4}" text-anchor="end">{escape(each.label)}</text>'
            f'<line class="s0" x1="{scale(each.low):.1f}" y1="{y}" x2="{scale(each.high):.1f}" y2="{y}"/>'
            f'<circle class="s0" cx="{scale(each.mean):.1f}" cy="{y}" r="4"/></g>'
        )
    return _figure(name, parts, _WIDTH, height)


class _Scale:
    """Maps values to places on the page. The ends of its range are round numbers, unless `nice` is False."""

    def __init__(self, values: Sequence[float], begin: float, end: float, *, nice: bool = True) -> None:
        low, high = min(values), max(values)
        if high <= low:
            low, high = low - 0.5, high + 0.5
        self.step = _round_step((high - low) / 5)
        if nice:
            low, high = math.floor(low / self.step) * self.step, math.ceil(high / self.step) * self.step
        self.low, self.high, self._begin, self._end = low, high, begin, end

    def __call__(self, value: float) -> float:
        return self._begin + (value - self.low) / (self.high - self.low) * (self._end - self._begin)

    def ticks(self) -> list[float]:
        first = math.ceil(self.low / self.step - 1e-9)
        return [number * self.step for number in range(first, math.floor(self.high / self.step + 1e-9) + 1)]


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)


def _axes(x_scale: _Scale, y_scale: _Scale, x_name: str) -> str:
    parts = _x_ticks(x_scale, _HEIGHT - _BOTTOM)
    for tick in y_scale.ticks():
        y = y_scale(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_short(tick)}</text>'
        )
    parts.append(
        f'<text class="tick" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 8}" text-anchor="end">{escape(x_name)}</text>'
    )
    return "".join(parts)


def _x_ticks(scale: _Scale, y: float) -> list[str]:
    return [
        f'<text class="tick" x="{scale(tick):.1f}" y="{y + 18:.1f}" text-anchor="middle">{_short(tick)}</text>'
        for tick in scale.ticks()
    ]


def _short(value: float) -> str:
    return f"{value:.3g}"


def _narrow(value: float) -> str:
    """Return a number of at most six characters, as wide as its cell. The cell's title has all digits."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.3g}"


def _figure(
    says: str,
    parts: Sequence[str],
    width: float = _WIDTH,
    height: float = _HEIGHT,
    legend: Sequence[str] = (),
) -> str:
    keys = "".join(
        f'<span class="key k{number % _SERIES}">{escape(name)}</span>' for number, name in enumerate(legend)
    )
    legend_line = f'<div class="legend">{keys}</div>' if len(legend) > 1 else ""
    return (
        f'<figure><div class="wide"><svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(says)}" '
        f'style="min-width:{min(width, 420)}px;max-width:{width * 1.25:.0f}px">'
        f"{''.join(parts)}</svg></div>{legend_line}<figcaption>{escape(says)}</figcaption></figure>"
    )
