"""The page on speed and its plots, from what `make bench` found: `python -m pages.benchmarks`.

To publish another run, put its build/benchmarks.json in the place of docs/results/benchmarks.json first.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pages.svg import WIDTH, box, drawing, text

ROOT = Path(__file__).parents[1]
SOURCE = "docs/results/benchmarks.json"
PAGE = "docs/benchmarks.md"
PICTURES = "docs/pictures"
_EDGE = 16.0
_ROW = 46.0
Document = Mapping[str, Any]  # JSON, as bench/suite.py writes it

_INTRO = """# Benchmarks

amix beside what one would use in its place, measured by one command:

<!-- not run: it takes up to an hour -->

```sh
make bench
```

It takes under an hour on two cores, the peers in environments of their own with pinned versions; `make bench QUICK=1`
tries it in five minutes. `SHORT=` and `LONG=` name corpora of one's own. Everything takes its turn, a ratio is taken
within a turn, and what is shown are medians over turns with the least and the most. What each bench does exactly is
said at the top of its script in `bench/`. Further measurements, of what these leave out:
[measurements.md](measurements.md).

This page is made by `make pages` from [results/benchmarks.json](results/benchmarks.json).
"""


def measured() -> Document:
    """Return what the published run found."""
    found: Document = json.loads((ROOT / SOURCE).read_text("utf-8"))
    return found


def page() -> str:
    """Return the page."""
    found = measured()
    parts = [_INTRO, _setting(found)]
    for part in found["parts"]:
        charts = _charts(part["measures"])
        parts.append(f"## {part['name']}\n")
        compared = [each for each in part["measures"] if each["target"] is not None]
        if compared:
            parts.append(_table(compared))
        for title, measures in charts.items():
            said = f"{title}, {measures[0]['unit']}"
            shown = "; ".join(f"{each['measure']} {_number(each['value'])}" for each in measures)
            parts.append(f"![{said}: {shown}](pictures/{_file(title)})\n")
        others = [each for each in part["measures"] if each["target"] is None and "chart" not in each]
        if others:
            parts.append(_table(others))
    return "\n".join(parts)


def plots() -> dict[str, str]:
    """Return the plots, by the name of their file."""
    drawn = {}
    for part in measured()["parts"]:
        for title, measures in _charts(part["measures"]).items():
            drawn[_file(title)] = bars(f"{title}, {measures[0]['unit']}", measures)
    return drawn


def bars(title: str, measures: Sequence[Document]) -> str:
    """Return a bar for each measure with its range over turns; those of amix have a colour of their own."""
    most = max(each["most"] for each in measures)
    side = WIDTH - 2 * _EDGE
    parts, top = [text(_EDGE, 28, title, "soft")], 56.0
    for each in measures:
        kind = "warm-dot" if each["measure"].startswith("amix") else "cool-dot"
        parts.append(text(_EDGE, top, each["measure"]))
        parts.append(text(WIDTH - _EDGE, top, _number(each["value"]), "end"))
        parts.append(box(_EDGE, top + 7, max(side * each["value"] / most, 2), 12, kind))
        low, high = (_EDGE + side * each[end] / most for end in ("least", "most"))
        parts.append(box(low, top + 12, max(high - low, 1), 2, "soft-line", 0.6))
        top += _ROW
    return drawing(title, top - 12, parts)


def _setting(found: Document) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in found["machine"].items())
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    trial = " **One turn over little data: nothing here should be quoted.**" if found["quick"] else ""
    return (
        f"Measured on {found['date']}: {machine}; no GPU. Encoder: {found['model']}. Texts: {found['texts']}.{trial} "
        f"Versions: {versions}.\n"
    )


def _charts(measures: Sequence[Document]) -> dict[str, list[Document]]:
    charts: dict[str, list[Document]] = {}
    for each in measures:
        if "chart" in each:
            charts.setdefault(each["chart"], []).append(each)
    return charts


def _table(measures: Sequence[Document]) -> str:
    lines = ["| measure | target | value | least to most | turns |", "|---|---|---|---|---|"]
    for each in measures:
        target = "-" if each["target"] is None else f"{each['bound']} {each['target']:g}"
        spread = f"{_number(each['least'])} to {_number(each['most'])}" if "least" in each else "-"
        cells = (each["measure"], target, _number(each["value"]), spread, str(each.get("turns", "-")))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _file(title: str) -> str:
    return "bench-" + re.sub(r"\W+", "-", title.lower()).strip("-") + ".svg"


def main() -> None:
    """Write the page and its plots, and remove plots of before."""
    (ROOT / PAGE).write_text(page(), "utf-8")
    for old in (ROOT / PICTURES).glob("bench-*.svg"):
        old.unlink()
    for name, svg in plots().items():
        (ROOT / PICTURES / name).write_text(svg, "utf-8")


if __name__ == "__main__":
    main()
