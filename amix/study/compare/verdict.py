"""What a comparison found: a verdict on each difference, and two sentences about all of them."""

import statistics
from collections.abc import Sequence
from typing import Literal, get_args

from amix.study.compare.comparison import Row
from amix.study.compare.statistics import FEWEST_SEEDS, Difference
from amix.study.compare.summary import BASELINE
from amix.study.terms import TERMS, signed

Verdict = Literal["clearly better", "clearly worse", "perhaps better", "perhaps worse", "no clear difference"]

LEVEL = 0.05  # of p, corrected
RULE = (
    f"Clearly: the 95 % interval leaves out zero, and p, corrected for all comparisons, is below {LEVEL:g}; p takes "
    f"{FEWEST_SEEDS} seeds or more. Perhaps: only the interval leaves out zero, as one in twenty does by chance."
)
_QUIET: Verdict = "no clear difference"
_NAMED = 3  # methods; of more, the rest is counted
_NOTHING_SHARED = f"No method shares a seed with plain fine-tuning ({BASELINE})"


def verdict(row: Row, metric: str) -> Verdict:
    """Return what the difference of a row to the baseline shows."""
    return verdict_on(row.differences[metric], metric, row.corrected.get(metric))


def verdict_on(found: Difference, metric: str, p: float | None = None) -> Verdict:
    """Return what one difference shows. p: corrected, None where there is none."""
    if found.low <= 0.0 <= found.high:
        return _QUIET
    is_better = (found.mean > 0) == (TERMS[metric].better == "higher")
    if p is not None and p < LEVEL:
        return "clearly better" if is_better else "clearly worse"
    return "perhaps better" if is_better else "perhaps worse"


def in_short(rows: Sequence[Row]) -> str:
    """Return two sentences, about accuracy and about NLL, written from the differences of all rows."""
    compared = [row for row in rows if row.differences]
    if not compared:
        is_alone = all(row.method == BASELINE for row in rows)
        why = f"Only plain fine-tuning ({BASELINE}) was run" if is_alone else _NOTHING_SHARED
        return (
            f"{why}, so nothing is compared. The mean accuracy is highest {_best(rows, 'accuracy')}, "
            f"the mean NLL lowest {_best(rows, 'nll')}."
        )
    settings = len({(row.corpus, row.samples, row.evaluated) for row in compared})
    found = _of_one if settings == 1 else _of_several
    opening = "Compared" if settings == 1 else f"In {len(compared)} comparisons"
    return (
        f"{opening} with plain fine-tuning ({BASELINE}), accuracy is {found(compared, 'accuracy')}. "
        f"NLL, which is lower where a model is less often sure and wrong, is {found(compared, 'nll')}."
    )


def _best(rows: Sequence[Row], metric: str) -> str:
    means = [(statistics.mean(row.values[metric]), row) for row in rows]
    pick = max if TERMS[metric].better == "higher" else min
    mean, row = pick(means, key=lambda each: each[0])
    where = f" on {row.corpus}" if len({each.corpus for each in rows}) > 1 else ""
    return f"with {row.method}{where} ({mean:.3f})"


def _of_one(rows: Sequence[Row], metric: str) -> str:
    """Return the verdicts on a metric in one setting, as the end of a sentence that begins with `METRIC is`."""
    groups = _groups(rows, metric)
    quiet = [row.method for row in groups.pop(_QUIET, [])]
    parts = [
        f"{each} with {_listed([f'{row.method} ({signed(row.differences[metric].mean)})' for row in members])}"
        for each, members in groups.items()
    ]
    if quiet:
        many = f"{len(quiet)} other methods" if parts else f"any of {len(quiet)} methods"
        parts.append(f"not clearly different with {_listed(quiet) if len(quiet) <= _NAMED else many}")
    return _joined(parts)


def _of_several(rows: Sequence[Row], metric: str) -> str:
    """Return how often each verdict was given in several settings, as the end of such a sentence."""
    parts = []
    for each, members in _groups(rows, metric).items():
        methods = list(dict.fromkeys(row.method for row in members))
        names = "" if len(methods) > _NAMED or each == _QUIET else f" ({_listed(methods)})"
        words = "not clearly different" if each == _QUIET else each
        parts.append(f"{words} in {len(members)}{names}")
    return _joined(parts)


def _groups(rows: Sequence[Row], metric: str) -> dict[Verdict, list[Row]]:
    """Return the rows by verdict, the clear ones first; only verdicts that were given."""
    found = {each: [row for row in rows if verdict(row, metric) == each] for each in get_args(Verdict)}
    return {each: members for each, members in found.items() if members}


def _listed(items: Sequence[str]) -> str:
    """Return items with commas and a last `and`; of many, the first are named and the rest is counted."""
    if len(items) > _NAMED + 1:
        items = [*items[:_NAMED], f"{len(items) - _NAMED} others"]
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])}, and {parts[-1]}"
