"""Which tests are slow: `make slow` measures them and writes slow.txt, `make quick` leaves out what is in it.

A line of slow.txt is a test function as pytest names it, or `FILE::@FIXTURE`, which stands for every test that uses the
fixture. Lines of fixtures are written by hand.
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

LIST = Path(__file__).with_name("slow.txt")
SLOW = 0.5  # seconds: a test function is slow if one of its cases takes longer
STILL_SLOW = (
    0.3  # and it stays so while one takes longer than this, so that the list is nearly the same each time
)


def listed() -> set[str]:
    """Return the lines of the list."""
    return {line for line in LIST.read_text().splitlines() if not line.startswith("#")}


def function_of(nodeid: str) -> str:
    """Return the name of a test without its parameters."""
    return nodeid.partition("[")[0]


def mark_slow(items: Iterable[pytest.Item]) -> None:
    """Give slow tests their mark."""
    slow = listed()
    for item in items:
        file = item.nodeid.partition("::")[0]
        names = {f"{file}::@{fixture}" for fixture in getattr(item, "fixturenames", ())}
        if slow & {function_of(item.nodeid), *names}:
            item.add_marker(pytest.mark.slow)


class Recorder:
    """A plugin that writes the list at the end of a run that has passed."""

    def __init__(self) -> None:
        """Begin with no test measured."""
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the slowest case of each test; not what is set up for it, since other tests mostly use that too."""
        if report.when == "call":
            name = function_of(report.nodeid)
            self._seconds[name] = max(self._seconds[name], report.duration)

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Write the list. Tests that were not run, and fixtures, are kept as long as their file is there."""
        if exitstatus:
            return
        before = listed()
        slow = {
            name
            for name, seconds in self._seconds.items()
            if seconds > (STILL_SLOW if name in before else SLOW)
        }
        root = LIST.parent.parent
        kept = {line for line in before - self._seconds.keys() if (root / line.partition("::")[0]).exists()}
        head = [line for line in LIST.read_text().splitlines() if line.startswith("#")]
        LIST.write_text("".join(f"{line}\n" for line in [*head, *sorted(slow | kept)]))
