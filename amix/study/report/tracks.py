"""Tables whose rows have a track: values on an axis that all rows share."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from amix.study.compare.statistics import Difference
from amix.study.compare.verdict import Verdict
from amix.study.report.page import Html, percent
from amix.study.report.tables import table, titled
from amix.study.terms import Term, signed


class Found(NamedTuple):
    """The difference of a method to the baseline. p: corrected, None where there is none."""

    method: str
    difference: Difference
    p: float | None
    verdict: Verdict


def differences(found: Sequence[Found], term: Term, baseline: str) -> Html:
    """Return differences with their intervals against a line at zero, in numbers and as tracks."""
    if not found:
        return Html()
    reach = max(max(abs(each.difference.low), abs(each.difference.high)) for each in found) or 1.0
    axis = _Axis(-reach, reach)
    sides = ("worse", "better") if term.better == "higher" else ("better", "worse")
    ends = Html(f'<span class="ends"><span>← {sides[0]}</span><span>{sides[1]} →</span></span>')
    rows = []
    for method, difference, p, verdict in found:
        low, high = difference.low, difference.high
        side = verdict.rpartition(" ")[2]
        track = (
            f'<div class="track" aria-hidden="true"><i class="zero" style="left:50%"></i>'
            f'<i class="{side}" style="{axis.span(low, high)}"></i>'
            f'<i class="dot {side}" style="left:{axis(difference.mean):.1f}%"></i></div>'
        )
        shown = titled(signed(difference.mean), f"{signed(low)} to {signed(high)}")
        rows.append([method, shown, Html(track), verdict, p, difference.seeds])
    name = f"{term.name} minus that of {baseline}"
    columns = [
        "method",
        titled("difference", "95 % interval"),
        ends,
        "verdict",
        titled("p", "corrected"),
        "seeds",
    ]
    return Html(f"<h3>{escape(name)} ({term.direction})</h3>{table(columns, rows, name, 'tracks')}")


def reliability(
    samples: Sequence[float], confidence: Sequence[float], accuracy: Sequence[float], name: str
) -> Html:
    """Return how often a model was right where it was so sure, a row for each bin of confidence that has texts."""
    rows = []
    axis, most = _Axis(0.0, 1.0), max(samples, default=0)
    for count, sure, right in zip(samples, confidence, accuracy, strict=True):
        if count <= 0:
            continue
        side = "worse" if right < sure else "better"
        paleness = max(0.35, math.sqrt(count / most))
        track = (
            f'<div class="track" aria-hidden="true" style="opacity:{paleness:.2f}">'
            f'<i class="{side}" style="{axis.span(sure, right)}"></i>'
            f'<i class="tick" style="left:{axis(sure):.1f}%"></i>'
            f'<i class="dot {side}" style="left:{axis(right):.1f}%"></i></div>'
        )
        rows.append([percent(sure), Html(track), percent(right), int(count)])
    if not rows:
        return Html()
    ends = Html('<span class="ends"><span>0 %</span><span>100 %</span></span>')
    return table(["sure", ends, "right", "texts"], rows, f"{name}: how sure, and how often right", "tracks")


class _Axis:
    """Maps values to percent of a track."""

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = low, high

    def __call__(self, value: float) -> float:
        return 100 * (value - self._low) / (self._high - self._low)

    def span(self, one: float, other: float) -> str:
        """Return the CSS of a bar between two values."""
        begin, end = sorted((self(one), self(other)))
        return f"left:{begin:.1f}%;width:{end - begin:.1f}%"
