"""How good a classifier is, and how well calibrated."""
