"""A frozen encoder as a folder, and what runs it."""
