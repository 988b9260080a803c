"""What every room needs: errors, canonical JSON, atomic publishing, processes, the machine, head specs."""
