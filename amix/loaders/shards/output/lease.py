"""One run at a time in a store, which has no locks: a small file there says whose turn it is, and that it lives.

The run that holds the lease writes it anew every few seconds. Another run waits for that: if the file changes, it is
refused; if not, the holder is dead or cut off, and the lease is taken over. Nobody's clock is compared with another's.
Whoever publishes a record looks at the lease first, so a holder that comes back to life finds that it lost it.
"""

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Iterator

from amix.engine.base.errors import AmixError, ShardError
from amix.engine.base.stopping import undisturbed
from amix.loaders.stores import WritableStore

LEASE = ".amix-lease"  # the name of the file: its holder, and how often it was written
BEAT = 5.0  # seconds between two signs of life
PATIENCE = 20.0  # seconds without one after which the holder counts as dead
_TRIES, _PAUSE = 20, 0.01

_LOG = logging.getLogger(__name__)


class Lease:
    """The turn of one run in a store. It pickles: the workers of a run have its lease."""

    def __init__(self, store: WritableStore) -> None:
        self._store = store
        self._holder = secrets.token_hex(16)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lease during the block. Raises ShardError where another run gives signs of life."""
        self._take()
        over = threading.Event()
        pulse = threading.Thread(target=self._beat, args=(over,), name="amix-lease", daemon=True)
        pulse.start()
        try:
            yield
        finally:
            with undisturbed():
                over.set()
                pulse.join()
                # Left behind, it costs the next run a little patience.
                with contextlib.suppress(AmixError):
                    if self.is_ours():
                        self._store.remove([LEASE])

    def is_ours(self) -> bool:
        """Tell whether no other run has taken the lease over."""
        found = self._read()
        return found is not None and found.split()[:1] == [self._holder.encode()]

    def require(self) -> None:
        """Raise ShardError when another run has taken the lease over."""
        if not self.is_ours():
            raise ShardError(
                f"{self._store}: this run lost its place to another one, because it gave no sign of life for "
                f"{PATIENCE:.0f} s (it was stopped, or cut off from the store). It ended without publishing more; what "
                "it published is kept. Let the other run finish."
            )

    def _read(self) -> bytes | None:
        for _ in range(_TRIES):
            found = self._store.read_if_there(LEASE)
            if found != b"":
                break
            time.sleep(_PAUSE)  # a disk, which unlike a bucket shows a file that is being written
        return found

    def _content(self, beat: int) -> bytes:
        return f"{self._holder} {beat}\n".encode()

    def _take(self) -> None:
        if self._store.create(LEASE, self._content(0)):
            return
        seen = self._read()
        _LOG.warning(
            f"{self._store}: another run writes there, or was killed. Waiting {PATIENCE:.0f} s for a sign of life."
        )
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            time.sleep(BEAT / 4)
            now = self._read()
            if now is None and self._store.create(LEASE, self._content(0)):
                return  # the other run has just ended
            if now != seen:
                raise ShardError(
                    f"{self._store}: another process is writing shards there. Wait for it to finish, or name another "
                    "place."
                )
        self._store.write(LEASE, self._content(0))

    def _beat(self, over: threading.Event) -> None:
        beat = 0
        while not over.wait(BEAT):
            beat += 1
            try:
                if not self.is_ours():
                    return  # whoever publishes next is told
                self._store.write(LEASE, self._content(beat))
            except AmixError as problem:
                _LOG.info(f"no sign of life could be given: {problem}")
