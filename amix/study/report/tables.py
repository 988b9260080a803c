"""Tables as HTML: with heads for rows and columns, in a frame that scrolls."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from amix.study.report.page import Html
from amix.study.terms import TERMS


def table(columns: Sequence[object], rows: Sequence[Sequence[object]], name: str, kind: str = "") -> Html:
    """Return a table whose first column heads its rows.

    Cells are shown as `cell` shows them.  name: what the table holds, for those who do not see it.
    """
    head = "".join(f'<th scope="col">{cell(each)}</th>' for each in columns)
    body = "".join(
        f'<tr><th scope="row">{cell(first)}</th>{"".join(_data(each) for each in rest)}</tr>'
        for first, *rest in rows
    )
    return Html(
        f'<div class="frame" role="region" tabindex="0" aria-label="{escape(name)}" '
        f'style="--columns:{len(columns) - 1}">'
        f"<table{f' class={kind}' if kind else ''}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def column(metric: str) -> Html:
    """Return the head of a metric's column: its name, and which direction is better."""
    return titled(TERMS[metric].name, TERMS[metric].direction)


def titled(name: str, note: str, kind: str = "") -> Html:
    """Return a cell with a note below; both plain text."""
    return Html(f"{escape(name)} <small{f' class={kind}' if kind else ''}>{escape(note)}</small>")


def cell(value: object) -> str:
    """Return a value as HTML: floats with three decimals, None as a dash, text escaped unless it is `Html`."""
    match value:
        case Html():
            return value
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.3f}"
        case int():
            return f"{value:,}"
        case _:
            return escape(str(value))


def _data(value: object) -> str:
    return value if isinstance(value, Shaded) else f"<td>{cell(value)}</td>"


class Shaded(Html):
    """A whole cell of a map, with its colour."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What colours stand for: a range that does not follow the values, so that small differences look small.

    middle: where colour is lightest, if not at the low end.  percent: numbers are shown in percent.
    """

    low: float
    high: float
    middle: float | None = None
    percent: bool = False

    def legend(self) -> Html:
        """Return the colours with the numbers that they stand for."""
        ends = [self._end(self.low), self._end(self.high)]
        says = f"Colours from {ends[0]} to {ends[1]}"
        kind = "ramp"
        if self.middle is not None:
            says += f", lightest at {self._end(self.middle)}"
            kind = "ramp two"
        return Html(
            f'<div class="scale" role="img" aria-label="{says}"><span>{ends[0]}</span><i class="{kind}"></i>'
            f"<span>{ends[1]}</span></div>"
        )

    def shaded(self, value: float | None, title: str) -> Html:
        """Return a cell with its number and colour. title: plain text, before the number with more digits."""
        if value is None or not math.isfinite(value):
            return Shaded("<td></td>")
        middle = self.low if self.middle is None else self.middle
        reach = self.high - middle if value >= middle else middle - self.low
        share = min(1.0, abs(value - middle) / reach) if reach else 0.0
        side = ' class="under"' if value < middle else ""
        return Shaded(
            f'<td{side} title="{escape(title)}: {value:.4g}" style="--share:{100 * share:.0f}%">'
            f"{self._number(value)}</td>"
        )

    def _number(self, value: float) -> str:
        """Return a number that is as narrow as a cell on a phone."""
        return f"{100 * value:.0f}" if self.percent else f"{value:.2f}".replace("0.", ".", 1)

    def _end(self, value: float) -> str:
        return f"{100 * value:g} %" if self.percent else f"{value:g}"


SHARES = Scale(low=0.0, high=1.0, percent=True)


def heat_map(
    values: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    scale: Scale,
    name: str,
    *,
    row: str = "layer",
    column: str = "head",
) -> Html:
    """Return a grid of shaded numbers under its scale. row, column: what a row and a column are."""
    heads = [Html(f'<span class="word">{escape(row)}</span>'), *columns]
    body = [
        [
            Html(f'<span class="word">{escape(row)} </span>{escape(label)}'),
            *(
                scale.shaded(value, f"{row} {label}, {column} {columns[place]}")
                for place, value in enumerate(line)
            ),
        ]
        for line, label in zip(values, rows, strict=True)
    ]
    says = f"{name}. Rows: {row}s; columns: {column}s."
    return Html(
        f"<figure><figcaption>{escape(says)}</figcaption>{scale.legend()}{table(heads, body, says, 'map')}</figure>"
    )
