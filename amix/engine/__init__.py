"""What the project exists for: relevance, mixing, the extractor and the sessions that run it."""
