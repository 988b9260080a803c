"""Classifier, loop, metrics."""
