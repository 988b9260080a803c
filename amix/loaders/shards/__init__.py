"""The format of shards, and what is done to whole folders of them."""
