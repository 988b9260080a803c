"""A budget of time as it is written, and as it is counted."""

import math
import re

from amix.engine.base.errors import UsageError

_TIME = re.compile(r"(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+)s)?")


def parse_budget(text: str) -> float:
    """Return the seconds of `20m`, `1h30m` or `90s`. Raises UsageError for anything else, and for none."""
    found = _TIME.fullmatch(text.strip())
    hours, minutes, seconds = (int(part or 0) for part in (found.groups() if found else ()) or (0, 0, 0))
    if not (total := 3600 * hours + 60 * minutes + seconds):
        raise UsageError(f"--budget {text}: is not a time. Write hours, minutes or seconds: 1h30m, 20m, 90s.")
    return float(total)


def budget_text(seconds: float) -> str:
    """Return a time as `parse_budget` takes it, in whole minutes, or in seconds below one; rounded up."""
    return f"{math.ceil(seconds)}s" if seconds < 60 else f"{math.ceil(seconds / 60)}m"
