"""A classifier trained on shards: its model, objective, scores and run."""
