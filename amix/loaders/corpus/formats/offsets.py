"""Where rows begin in a text file: an index that the first pass makes, so that later ones read only what they need."""

from array import array
from dataclasses import dataclass, field

STEP = 1024  # rows from one entry to the next; few enough to skip, and 16 bytes for a thousand rows


@dataclass
class RowOffsets:
    """The first lines of every `STEP`-th row, as far as the file was read.

    row_count: of the whole file; None until it was read to its end.
    """

    row_count: int | None = None
    _lines: "array[int]" = field(default_factory=lambda: array("q"))
    _bytes: "array[int]" = field(default_factory=lambda: array("q"))

    def note(self, row: int, line: int, position: int) -> None:
        """Take down that row number `row` is line number `line`, at byte `position`, if that is to be kept."""
        if row == len(self._bytes) * STEP:
            self._lines.append(line)
            self._bytes.append(position)

    def before(self, row: int) -> tuple[int, int, int]:
        """Return the last row that is known at or before `row`, its line number, and the byte where it begins.

        Before anything is known this is the beginning of the file, which is line 1.
        """
        entry = min(row // STEP, len(self._bytes) - 1)
        return (0, 1, 0) if entry < 0 else (entry * STEP, self._lines[entry], self._bytes[entry])
