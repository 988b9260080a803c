"""Which head to mix by, found without training a classifier."""
