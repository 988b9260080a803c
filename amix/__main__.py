"""`python -m amix` is the command `amix`."""

from amix.cli import main

if __name__ == "__main__":
    main(prog_name="amix")
