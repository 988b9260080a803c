"""Pages about runs, comparisons, heads and texts: one file each, without a network, for phones and dark mode too."""
