"""Git LFS pointers: the few lines of text that stand in a file's place where git-lfs did not fetch it."""

from pathlib import Path

FIRST_LINE = b"version https://git-lfs.github.com/spec/"


def is_pointer(path: Path) -> bool:
    """Tell whether a file is a pointer. False where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(FIRST_LINE)) == FIRST_LINE
    except OSError:
        return False


def pointer_refusal(path: Path) -> str:
    """Return what to say of a file that is a pointer."""
    return (
        f"{path}: is a Git LFS pointer, not the file itself: the folder was cloned without git-lfs. "
        f"Run 'git lfs install' and 'git lfs pull' in {path.parent}, or download the file."
    )
