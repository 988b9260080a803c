"""The names of the files in the folder of a run, for writers and readers. Nothing is imported here."""

CONFIG, METRICS, MODEL, TENSORBOARD = "config.yaml", "metrics.jsonl", "model", "tensorboard"
PREDICTIONS, DEV = "predictions", "dev.safetensors"
FOLDS, ENSEMBLE = "folds", "ensemble"
