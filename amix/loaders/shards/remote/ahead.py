"""Shards fetched ahead of use: a thread goes through the order of an epoch, a few shards ahead of the reader."""

import logging
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from amix.engine.base.errors import AmixError

_LOG = logging.getLogger(__name__)


class Ahead:
    """Provides `shards` in the order of their first use, at most `depth` shards ahead of the reader.

    provide: brings one shard here. Its errors are left to the reader, which gets them when it reaches that shard.
    """

    def __init__(self, shards: Sequence[int], provide: Callable[[int], None], depth: int = 4) -> None:
        self._shards = shards
        self._provide = provide
        self._depth = depth
        self._place = {shard: place for place, shard in enumerate(shards)}
        self._reached = 0
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="amix-ahead", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
        # A running fetch is not waited for: the thread is a daemon, and the next fetch overwrites the partial file.

    def reached(self, shards: Sequence[int]) -> None:
        """Note that the reader is about to use `shards`."""
        with self._changed:
            self._reached = max([self._reached, *(self._place[shard] for shard in shards)])
            self._changed.notify()

    def _run(self) -> None:
        for place, shard in enumerate(self._shards):
            with self._changed:
                while place > self._reached + self._depth and not self._ended:
                    self._changed.wait()
                if self._ended:
                    return
            try:
                self._provide(shard)
            except AmixError as problem:
                _LOG.info(f"fetching ahead: {problem}")
