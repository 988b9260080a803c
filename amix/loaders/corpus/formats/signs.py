"""What the first bytes of a file say it is, where that is something else than its name says."""

import re

from amix.engine.base.errors import CorpusError
from amix.engine.base.lfs import FIRST_LINE
from amix.loaders.corpus.datafile import DataFile
from amix.loaders.corpus.formats.unpacked import reading

_PACKED = {
    ".gz": re.compile(rb"\x1f\x8b\x08"),
    ".zst": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),  # the second: a frame without data
    ".bz2": re.compile(rb"BZh[1-9]1AY&SY"),
    ".xz": re.compile(rb"\xfd7zXZ\x00"),
    ".zip": re.compile(rb"PK\x03\x04"),  # also of Excel
}


def require_as_named(file: DataFile) -> None:
    """Raise CorpusError for an empty file, a Git LFS pointer, and one that is packed otherwise than its name says."""
    with reading(file.path), file.path.open("rb") as stream:
        head = stream.read(64)
    if not head:
        raise CorpusError(f"{file.path}: is empty. Name a corpus with at least one text.")
    if head.startswith(FIRST_LINE):
        raise CorpusError(
            f"{file.path}: is a Git LFS pointer, not the data itself. Fetch the data with: git lfs pull"
        )
    named = None if file.compression is None else f".{file.compression}"
    if named is not None and not _PACKED[named].match(head):
        raise CorpusError(
            f"{file.path}: does not begin like a {named} file. If it is not packed, take {named} off its name; "
            "else it is damaged: fetch it again."
        )
    packed = next((ending for ending, sign in _PACKED.items() if sign.match(head)), None)
    if named is None and packed is not None and file.format in ("csv", "jsonl"):
        known = packed in (".gz", ".zst")
        remedy = f"Rename it to {file.path.name}{packed}" if known else "Unpack it, or save it as CSV"
        raise CorpusError(
            f"{file.path}: begins like a {packed} file, and its name does not say so. {remedy}."
        )
