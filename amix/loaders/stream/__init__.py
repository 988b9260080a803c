"""Shards in, batches out, in an order of their own."""
