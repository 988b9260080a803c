"""Which attention to mix by: heads ranked without training a classifier, or by training with the most promising."""
