"""One file of each format as records, and what is told from its bytes before: encoding, packing, separators."""
