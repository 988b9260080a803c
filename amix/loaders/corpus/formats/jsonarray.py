"""A file that is one JSON array: its items one after the other, a few in memory at a time."""

import json
from collections.abc import Iterator
from typing import TextIO

_PIECE = 1 << 18  # characters
_SPACE = " \t\r\n"
_DECODER = json.JSONDecoder()


class ArrayError(Exception):
    """The text is no JSON array from some place on; the message says where and why."""


def array_items(text: TextIO) -> Iterator[tuple[object, str]]:
    """Yield each item with the text that it was written as. Raises ArrayError."""
    buffer = _Buffer(text)
    buffer.take("[")
    if buffer.peek() != "]":
        while True:
            yield buffer.item()
            if buffer.peek() != ",":
                break
            buffer.take(",")
    buffer.take("]")
    if buffer.peek():
        raise buffer.error("something stands after the end of the array")


class _Buffer:
    """A part of the text, and how far it has been read."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._held = ""
        self._at = 0
        self._line = 1

    def peek(self) -> str:
        """Return the next character that is no white space, "" at the end."""
        while True:
            while self._at < len(self._held):
                if self._held[self._at] not in _SPACE:
                    return self._held[self._at]
                self._at += 1
            if not self._more():
                return ""

    def take(self, character: str) -> None:
        found = self.peek()
        if found != character:
            raise self.error(f"{character!r} is missing" if found else "it ends too early")
        self._at += 1

    def item(self) -> tuple[object, str]:
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._held, self._at)
            except json.JSONDecodeError as problem:
                # Only an error near the end may be one of the part that is held, and not of the file.
                cut = problem.msg.startswith("Unterminated") or problem.pos > len(self._held) - 16
                offset = problem.pos - self._at
                if cut and self._more():
                    continue
                self._at += offset
                raise self.error("the JSON is not valid there") from None
            except (ValueError, RecursionError):
                raise self.error("a number is too long, or values are nested too deep") from None
            if end < len(self._held) or not self._more():
                written = self._held[self._at : end]
                self._at = end
                return value, written

    def error(self, what: str) -> ArrayError:
        line = self._line + self._held.count("\n", 0, self._at)
        return ArrayError(f"{what} (line {line})")

    def _more(self) -> bool:
        """Hold more of the text, as much again as is left, so that long items are not decoded too often."""
        self._line += self._held.count("\n", 0, self._at)
        self._held = self._held[self._at :]
        self._at = 0
        piece = self._text.read(max(_PIECE, len(self._held)))
        self._held += piece
        return bool(piece)
