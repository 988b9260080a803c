"""What makes the parts of the documentation that are made: pages from the sources, and pictures."""
