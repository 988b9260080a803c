"""A run from start to end: the loop, its steps, checkpoints and folder."""
