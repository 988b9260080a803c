"""What can go wrong between here and a store, and what may be said about it."""

import errno
from dataclasses import dataclass

from amix.engine.base.errors import AmixError, FetchError, StorageError

# Trying again does not help.
FINAL = (
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    NotImplementedError,
)
LOCAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # a disk of this machine; trying again does not help
# Errors of botocore and google.auth, by name, because these packages may not be installed.
NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"}


@dataclass(frozen=True)
class Doing:
    """What is done with a file, in the words of its errors."""

    error: type[AmixError]
    verb: str
    done: str
    kept: str


READING = Doing(FetchError, "read", "fetched", "; files that were fetched before are kept")
WRITING = Doing(StorageError, "write to", "sent", "")


class Different(Exception):
    """Other bytes arrived than were asked for. Its messages are ours, and hold no secrets."""


def reason(problem: Exception) -> str:
    """Return what an error may tell the user; a store's own message may hold a signed URL or a key."""
    if isinstance(problem, Different):
        return str(problem)
    if isinstance(problem, FileNotFoundError):
        return "there is no such file or folder"
    if isinstance(problem, NotADirectoryError | FileExistsError):
        return "a file is in the place of a folder"
    if isinstance(problem, PermissionError):
        return "permission denied"
    status = getattr(problem, "status", None) or getattr(
        getattr(problem, "response", None), "status_code", None
    )
    return f"{type(problem).__name__}, status {status}" if status else type(problem).__name__
