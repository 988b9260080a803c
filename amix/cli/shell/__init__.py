"""How commands meet the shell: its streams, its arguments, help, and progress."""
