"""Frozen encoder in, extractor folder out."""
