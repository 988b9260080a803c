"""Warnings that are said once, where the same checks are made again and again."""

import contextlib
import logging
from collections.abc import Iterator


class _Once(logging.Handler):
    """Hands every message on, as if it were not there, but none of them twice."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record to the handlers of the program, or to stderr where it has none."""
        message = record.getMessage()
        if message not in self._said:
            self._said.add(message)
            logging.getLogger().callHandlers(record)


@contextlib.contextmanager
def said_once() -> Iterator[None]:
    """Let each message that amix logs through once, as long as the block runs."""
    logger, handler = logging.getLogger("amix"), _Once()
    if not logger.propagate:  # a block around this one, or a program that has its own way, sees to it
        yield
        return
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = True
        logger.removeHandler(handler)
