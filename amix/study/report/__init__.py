"""Pages about runs, comparisons and heads: one file each, without a network, readable on a phone and in the dark."""
