"""What is written while it is measured: one JSON object a line, on the disk before the next thing begins."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, assert_never

Status = Literal["done", "skipped", "cut", "failed", "absent"]


@dataclass(frozen=True, kw_only=True)
class Fact:
    """What figures depend on: the card, a version, the weights of an encoder."""

    name: str
    value: str | int | float | None


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number that was measured.

    turn: what has its turn together is measured one after the other, and ratios are taken within a turn.
    """

    name: str
    value: float
    unit: str
    turn: int = 0


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What became of a piece of work.

    `skipped`: it did not fit in the time that was left. `cut`: the time was over while it ran; what it had finished is
    kept. `absent`: what it needs is not installed here.
    needs, left: seconds that it was expected to take, and that were left.  seconds: that it took.
    """

    name: str
    status: Status
    needs: float
    left: float
    seconds: float = 0.0
    why: str = ""


Entry = Fact | Figure | Piece


class Journal:
    """Appends entries to a file. A line that a killed run left unfinished is removed first."""

    def __init__(self, path: Path, *, anew: bool = False) -> None:
        """Open `path`.  anew: begin an empty file, and keep the one that is there under another name."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if anew and path.exists():
            path.rename(next(name for name in _numbered(path) if not name.exists()))
        if path.exists():
            data = path.read_bytes()
            os.truncate(path, data.rfind(b"\n") + 1)
        self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def fact(self, name: str, value: str | int | float | None) -> None:
        """Write down what figures depend on."""
        self.write(Fact(name=name, value=value))

    def figure(self, name: str, value: float, unit: str, turn: int = 0) -> None:
        """Write down a number that was measured. Raises ValueError for one that is not finite."""
        self.write(Figure(name=name, value=float(value), unit=unit, turn=turn))

    def write(self, entry: Entry) -> None:
        """Append an entry, and wait until it is on the disk."""
        document = {"kind": type(entry).__name__.lower(), **asdict(entry)}
        self._file.write(json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def read(path: Path) -> list[Entry]:
    """Return the entries of a journal; what a killed run left of its last line does not count."""
    lines = path.read_text("utf-8").splitlines(keepends=True)
    return [_entry(line) for line in lines if line.endswith("\n")]


def _entry(line: str) -> Entry:
    fields = json.loads(line)
    kind: Literal["fact", "figure", "piece"] = fields.pop("kind")
    match kind:
        case "fact":
            return Fact(**fields)
        case "figure":
            return Figure(**fields)
        case "piece":
            return Piece(**fields)
        case _:
            assert_never(kind)


def _numbered(path: Path) -> Iterator[Path]:
    for number in range(1, 10_000):
        yield path.with_name(f"{path.stem}.{number}{path.suffix}")
