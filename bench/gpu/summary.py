"""What a run on a card came to, as Markdown for docs/results/gpu.

    python bench/gpu/summary.py OUT

OUT is what `bench/gpu/run.sh` wrote to. Whatever was not measured is not in it; what was skipped, cut or failed is.
"""

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

# Where the package `gpu` is, when this file is run as a program.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpu.goals import GOALS, NO_CARD
from gpu.journal import Entry, Fact, Figure, Piece, read
from gpu.results import tables

MODES = ("engine", "table", "evidence")


def summary(out: Path) -> str:
    """Return the Markdown. Raises SystemExit where nothing was measured."""
    lines: list[str] = []
    for mode in MODES:
        if (path := out / f"{mode}.jsonl").exists():
            lines += [f"## {mode}", "", *_section(mode, read(path), out)]
    if not lines:
        raise SystemExit(f"{out}: holds none of {', '.join(f'{mode}.jsonl' for mode in MODES)}.")
    return "\n".join(lines).rstrip() + "\n"


def goal_table(entries: Iterable[Entry]) -> list[str]:
    """Return the goals beside what was measured, as lines of Markdown."""
    entries = list(entries)
    figures = [each for each in entries if isinstance(each, Figure)]
    is_trial = any(isinstance(each, Fact) and each.value == NO_CARD for each in entries)
    lines = ["| goal | bound | median | least to most | turns | |", "|---|---|---|---|---|---|"]
    for goal in GOALS:
        values = goal.values(figures)
        verdict = "no card" if is_trial else goal.verdict(values)
        lines.append(
            f"| {goal.says} | {goal.sign} {goal.bound:g} | {_spread(values)} | {len(values)} | {verdict} |"
        )
    return lines


def _section(mode: str, entries: Sequence[Entry], out: Path) -> list[str]:
    facts = {each.name: each.value for each in entries if isinstance(each, Fact)}
    lines = [f"- {name}: {value}" for name, value in facts.items()]
    if mode == "engine":
        lines += ["", *goal_table(entries), "", *_figures(entries)]
    for name, table in tables(out, mode):
        lines += ["", f"### {name}", "", *table.splitlines()]
    left = _last(entries)
    if left:
        lines += ["", "Not done, or not to the end:", ""]
        lines += [f"- {each.name}: {each.status}{_because(each)}" for each in left]
    return [*lines, ""]


def _figures(entries: Iterable[Entry]) -> list[str]:
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for each in entries:
        if isinstance(each, Figure):
            values[each.name, each.unit].append(each.value)
    lines = ["| figure | unit | median | least to most | turns |", "|---|---|---|---|---|"]
    return lines + [
        f"| {name} | {unit} | {_spread(found)} | {len(found)} |" for (name, unit), found in values.items()
    ]


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "- | -"
    return f"{_shown(statistics.median(values))} | {_shown(min(values))} to {_shown(max(values))}"


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _last(entries: Iterable[Entry]) -> list[Piece]:
    """Return the pieces that are not done, each as it ended last."""
    last = {each.name: each for each in entries if isinstance(each, Piece)}
    return [each for each in last.values() if each.status != "done"]


def _because(piece: Piece) -> str:
    why = piece.why.strip().splitlines()[-1] if piece.why.strip() else ""
    times = f"needs {piece.needs:.0f} s, {piece.left:.0f} s were left" if piece.status == "skipped" else ""
    return "".join(f"; {part}" for part in (why, times) if part)


def main() -> None:
    """Print the Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    print(summary(parser.parse_args().out), end="")  # noqa: T201  its answer


if __name__ == "__main__":
    main()
