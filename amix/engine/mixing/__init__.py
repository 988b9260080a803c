"""Masks and relevance in, a plan out; a plan mixes tensors."""
