"""Shards in, batches out, in an order drawn for each epoch."""
