"""How many runs of a comparison to train at once when the user does not say."""

_SHARE = 0.8  # of the free memory: what a run needs is an estimate


def sensible_jobs(cores: int, memory: int | None, run_bytes: int) -> int:
    """Return one run of one thread for each core, as far as the free memory allows, and at least one.

    Runs of one thread side by side are faster than one run of several: small matrix products do not divide well, and
    threads that wait for each other lose the time of a core that another program uses.
    memory: free bytes, None if unknown.  run_bytes: what the largest run needs.
    """
    room = cores if memory is None else int(_SHARE * memory) // run_bytes
    return max(1, min(cores, room))
