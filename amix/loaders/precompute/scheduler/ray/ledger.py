"""Which unit goes to whom: new ones in order, and one that failed, alone, to somebody else."""

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

TRIES = 3  # of a unit, on as many nodes as there are up to that


@dataclass(eq=False)
class Member:
    """A worker as the driver sees it.

    node: where it is; None while it starts.  where: the same for people.  units: those that it has, at most two.
    wants: it is to get a unit.  alone: the unit that it has failed before.  kept: such a unit, until it has no other.
    """

    name: str
    node: str | None = None
    where: str = ""
    units: list[int] = field(default_factory=list)
    wants: bool = False
    alone: bool = False
    kept: int | None = None


@dataclass(frozen=True)
class Try:
    """A unit that failed: at whom, on which node."""

    member: Member
    node: str | None
    where: str


class Ledger:
    """The units of a run, from the first to the last.

    A unit that fails may have taken the process with it, and another unit of the same worker too. So it is tried
    again alone, and tells on its next failure which of the two it was.
    """

    def __init__(self, members: Collection[Member], done: Collection[int]) -> None:
        self._members = members
        self._new: Iterable[int] = (unit for unit in itertools.count() if unit not in done)
        self._again: list[int] = []
        self._tries: defaultdict[int, list[Try]] = defaultdict(list)
        self._at_end = False

    @property
    def is_finished(self) -> bool:
        """Whether every unit has been given to somebody and has come back."""
        held = any(member.units or member.kept is not None for member in self._members)
        return self._at_end and not self._again and not held

    def end(self) -> None:
        """Take note that the corpus has no further units."""
        self._at_end = True

    def next_for(self, member: Member) -> int | None:
        """Return the unit that a member is to begin with, None if there is none for it now."""
        if member.kept is None:
            member.kept = next((unit for unit in self._again if member in self._candidates(unit)), None)
            if member.kept is not None:
                self._again.remove(member.kept)
        if member.kept is not None:
            if member.units:
                return None
            unit, member.kept, member.alone = member.kept, None, True
        elif self._at_end:
            return None
        else:
            unit = next(iter(self._new))
        member.units.append(unit)
        member.wants = False
        return unit

    def came_back(self, member: Member, unit: int) -> None:
        """Take note that a member is done with a unit, whatever became of it."""
        member.units.remove(unit)
        if not member.units:
            member.wants, member.alone = True, False

    def failed(self, member: Member, unit: int) -> list[Try]:
        """Take note that a unit is to be tried again, and return its tries so far."""
        self._tries[unit].append(Try(member, member.node, member.where))
        self._again.append(unit)
        return self._tries[unit]

    def lost(self, member: Member) -> None:
        """Take note that a member is gone, or will be somewhere else; its units fail one by one."""
        member.node, member.wants = None, False
        if member.kept is not None:
            self._again.append(member.kept)
            member.kept = None

    def _candidates(self, unit: int) -> list[Member]:
        """Return who may try a unit again: those on other nodes; if there are none, other workers; else all."""
        present = [member for member in self._members if member.node is not None]
        tries = self._tries[unit]
        nodes, members = {each.node for each in tries}, [each.member for each in tries]
        return (
            [member for member in present if member.node not in nodes]
            or [member for member in present if member not in members]
            or present
        )
