"""The comparisons of docs/results/protocol.md: grids, and what runs, measures and tabulates them."""
