"""How every bench takes its turns, and what it does at its end."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def in_turn(count: int, turn: Callable[[], object]) -> None:
    """Call `turn` `count` times, and say each time which it is."""
    for number in range(count):
        print(f"turn {number + 1} of {count}", file=sys.stderr, flush=True)  # noqa: T201  progress
        turn()


def finish(lines: Sequence[str], results: Sequence[dict[str, Any]], out: Path | None) -> None:
    """Print the tables, and write the list for machines to `out` if there is one."""
    print("\n".join(lines))  # noqa: T201  a bench prints
    if out is not None:
        out.write_text(json.dumps(results, indent=1) + "\n")
