"""What a run reads: its sets, the part of the training texts that it uses, and labels made wrong on purpose."""
