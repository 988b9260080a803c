"""Units on a cluster of Ray: the only modules that import it, beside ray_data."""
