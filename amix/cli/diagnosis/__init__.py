"""What `amix doctor` finds out."""
