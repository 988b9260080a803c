"""What the whole package needs: errors, canonical JSON, atomic publishing, processes, the machine, head specs."""
