"""Comparisons of runs, analyses of attention, and report pages."""
