"""How many workers to start when the user does not say."""

from amix.engine.extractor.folder import Extractor

# Measured for one worker with ONNX Runtime: the interpreter with its libraries, activations and a unit's texts; and the
# weights twice, because the session packs them for its matrix products.
_BASE = 180_000_000
_COPIES = 2


def worker_bytes(model_bytes: int) -> int:
    """Return about how many bytes of memory a worker needs for a graph of `model_bytes`."""
    return _BASE + _COPIES * model_bytes


def graph_bytes(extractor: Extractor) -> int:
    """Return the bytes of the graph that ONNX Runtime loads; 0 where the extractor has none."""
    return sum(path.stat().st_size for path in extractor.folder.glob("model.onnx*"))


def sensible_workers(cores: int, memory: int | None, model_bytes: int) -> int:
    """Return one worker for each core, as far as `memory` bytes allow, and at least one.

    Workers of one thread are faster than fewer workers of more threads, because small matrix products do not divide
    well. memory: None if unknown.
    """
    room = cores if memory is None else memory // worker_bytes(model_bytes)
    return max(1, min(cores, room))
