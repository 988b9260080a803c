"""A corpus to a classifier in one go, and what helps it."""
