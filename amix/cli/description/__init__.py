"""What `amix info` says of each kind of file and folder."""
