"""The names in the folder of a run, for those that write it and those that read it; nothing is imported here."""

CONFIG, METRICS, MODEL, TENSORBOARD = "config.yaml", "metrics.jsonl", "model", "tensorboard"
PREDICTIONS, DEV = "predictions", "dev.safetensors"
