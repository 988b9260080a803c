"""Small drawings: SVG that keeps its text legible on a phone, in the colours of the reports, light and dark."""

import re
from collections.abc import Sequence
from html import escape

from amix.study.report.page import asset

WIDTH = 400  # points; a phone shows them at about this size
_FONT = 13
LETTER = 0.6 * _FONT  # the width of a letter: the font is one of equal widths
_STYLE = """
text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: var(--ink); }
.soft { fill: var(--soft); font-size: 11.5px; } .end { text-anchor: end; } .middle { text-anchor: middle; }
.card { fill: var(--card); stroke: var(--line); } .line { stroke: var(--line); } .soft-line { stroke: var(--soft); }
.warm { fill: var(--warm-fill); } .cool { fill: var(--cool-fill); }
.warm-dot { fill: var(--warm); } .cool-dot { fill: var(--cool); }
.warm-line { stroke: var(--warm); fill: none; } .cool-line { stroke: var(--cool); fill: none; }
"""


def drawing(name: str, height: float, parts: Sequence[str]) -> str:
    """Return an SVG of `WIDTH` points. name: what a reader who cannot see it is told.  parts: elements."""
    palette = "".join(
        re.findall(r"(?:@media screen[^{]*\{\s*)?:root \{.*?\}(?:\s*\})?", asset("page.css"), re.DOTALL)
    )
    card = f'<rect class="card" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1:g}" rx="8"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:g}" '
        f'viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(name)}">\n'
        f"<style>{palette}{_STYLE}</style>\n{card}\n" + "\n".join(parts) + "\n</svg>\n"
    )


def text(x: float, y: float, said: str, kind: str = "") -> str:
    """Return a line of text. kind: classes of the style, such as `soft end`."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" xml:space="preserve">{escape(said)}</text>'


def box(x: float, y: float, width: float, height: float, kind: str, share: float = 1.0) -> str:
    """Return a filled rectangle. share: of the fill, in [0, 1]."""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{height:.1f}" rx="2" class="{kind}" '
        f'fill-opacity="{share:.2f}"/>'
    )


def line(points: Sequence[tuple[float, float]], kind: str, width: float = 1.0) -> str:
    """Return a line through points."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" class="{kind}" fill="none" stroke-width="{width:g}"/>'


def dot(x: float, y: float, radius: float, kind: str) -> str:
    """Return a filled circle."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" class="{kind}"/>'
