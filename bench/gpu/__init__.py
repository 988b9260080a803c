"""What a GPU is measured on: `run.sh engine`, `table` and `evidence`. How to run them: docs/results/gpu/README.md."""
