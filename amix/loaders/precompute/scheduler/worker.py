"""What all workers have in common, wherever they run."""

import traceback
from dataclasses import dataclass
from typing import Self

from amix.engine.base.errors import AmixError, ShardError


@dataclass(frozen=True)
class Failure:
    """An error in a worker, on its way to the parent."""

    kind: type[Exception]
    message: str
    trace: str

    @classmethod
    def of(cls, problem: Exception) -> Self:
        """Return a failure that is being handled."""
        return cls(type(problem), str(problem), traceback.format_exc())

    def error(self, what: str, place: str = "") -> AmixError:
        """Return the worker's own AmixError, or ShardError for any other; a note holds the worker's traceback.

        what: what failed.  place: a sentence that says where, for a reader who has more than one machine.
        """
        end = f" {place}" if place else ""
        error = (
            self.kind(f"{self.message}{end}")
            if issubclass(self.kind, AmixError)
            else ShardError(
                f"{what} failed in its worker with {self.kind.__name__}: {self.message}.{end} Finished shards are "
                "kept; --debug shows where it happened."
            )
        )
        error.add_note(f"In the worker, at {what}:\n{self.trace}")
        return error


def tokenizer_environment(device: str, threads: int) -> dict[str, str]:
    """Return what to tell the tokenizer of a worker that has `threads` cores."""
    if threads == 1:
        return {"TOKENIZERS_PARALLELISM": "false"}
    if device == "cpu":
        return {}
    # A GPU takes more tokens a second than a core gives. What the caller's environment says is mostly meant for forks,
    # and there are none here.
    return {"TOKENIZERS_PARALLELISM": "true", "RAYON_NUM_THREADS": str(threads)}
