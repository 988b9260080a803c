"""What the benches share: samples of a corpus, runs of the command line, the arithmetic ceiling."""
