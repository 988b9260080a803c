"""Caches made from other caches: repacked, or with other labels. Nothing is computed from texts again."""
