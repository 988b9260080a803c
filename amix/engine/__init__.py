"""The core: relevance, mixing, the extractor and the sessions that run it."""
