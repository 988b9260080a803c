"""How many workers a machine is good for, when nobody says."""

# Of one worker, measured with ONNX Runtime: the interpreter with its libraries, activations and a unit's texts; and the
# weights twice, since the session packs them for its matrix products.
_BASE = 180_000_000
_COPIES = 2


def worker_bytes(model_bytes: int) -> int:
    """Return about how much memory a worker takes that runs a graph of `model_bytes`."""
    return _BASE + _COPIES * model_bytes


def sensible_workers(cores: int, memory: int | None, model_bytes: int) -> int:
    """Return one worker for each core, as far as `memory` bytes go, and at least one.

    One thread each beats fewer workers of more threads: small products do not share well. memory: None if unknown.
    """
    room = cores if memory is None else memory // worker_bytes(model_bytes)
    return max(1, min(cores, room))
