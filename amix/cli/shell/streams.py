"""The standard streams, made safe to write to: some may be closed, or unable to hold a character."""

import io
import os
import select
import sys


def open_streams() -> None:
    """Open closed streams on the null device, and let stdout show what its encoding lacks as an escape.

    A closed stream has to be opened, not only ignored: the next file would get its number, and whatever a C library
    says would go into that file.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            # What is opened gets the lowest free number, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def reader_is_gone() -> bool:
    """Tell whether the reader of stdout has closed it; a broken pipe may also be one to a worker that died."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (AttributeError, OSError, ValueError):  # no poll on this system, or stdout is not a file
        return True
