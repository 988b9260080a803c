"""A corpus through an extractor into shards, by parallel workers."""
