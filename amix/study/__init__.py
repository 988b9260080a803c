"""What stands above single runs: comparisons, analyses of attention, report pages."""
