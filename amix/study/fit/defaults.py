"""What a fit does where it is not told. Nothing is imported here, since help shows it."""

# Small, on any machine at hand in a few minutes, open to all, and what docs/results.md measures. It reads English.
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
HELD_OUT = "0.2"
BUDGET = "20m"

# Options of training that differ from those of `amix train`, which takes any size of data and model: small batches, and
# passes enough for a model to learn a small set.
LR, BATCH_SIZE = 5e-5, 16
STEPS, FEWEST_EPOCHS, MOST_EPOCHS = 300, 3, 20
EPOCHS = f"{FEWEST_EPOCHS} to {MOST_EPOCHS}, for about {STEPS} steps"
