"""From text to published shards on the card, by the command line in a process of its own."""

from pathlib import Path

from measuring.command import precompute
from measuring.speedtable import STAGES

from amix.engine.extractor.folder import Backend
from gpu.journal import Journal
from gpu.scale import Scale


def text_to_shards(
    corpus: Path,
    extractor: Path,
    work: Path,
    scale: Scale,
    journal: Journal,
    *,
    name: str,
    backend: Backend,
    seconds: float,
    workers: int = 1,
    turn: int = 0,
) -> None:
    """Write down what a run of `amix precompute` came to. Raises subprocess.TimeoutExpired after `seconds`.

    `steady` leaves start-up out: of one worker, from the end of its first unit to that of its last.
    """
    options = {
        "--device": scale.device,
        "--backend": backend,
        "--workers": workers,
        "--limit": scale.shard_texts,
        "--samples-per-shard": scale.per_shard,
        "--max-length": scale.max_length,
    }
    arguments = [str(part) for pair in options.items() for part in pair]
    run = precompute(corpus, extractor, work, *arguments, timeout=seconds)
    journal.figure(name, run.tokens / run.seconds, "tokens/s", turn)
    if workers > 1:
        return
    units = [event for event in run.events if event["event"] == "unit"]
    later = units[1:]
    steady = sum(unit["tokens"] for unit in later) / sum(unit["seconds"] for unit in later)
    journal.figure(f"{name}, steady", steady, "tokens/s", turn)
    sums = run.sums()
    for stage in STAGES:
        journal.figure(f"{name}, {stage}", run.tokens / sums[stage], "tokens/s", turn)
    total = run.events[-1]["run"]
    journal.figure(f"{name}, start-up", run.seconds - total["worker_seconds"], "s", turn)
    journal.figure(f"{name}, session busy", total["session_busy_share"], "share", turn)
