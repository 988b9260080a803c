"""Canonical JSON: equal values give equal bytes, and a sealed document carries its own sha256."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from amix.engine.base.errors import AmixError


def dumps(value: object) -> bytes:
    """Return `value` as UTF-8 JSON with sorted keys and no spaces.

    Raises ValueError for NaN and infinities, which JSON cannot hold.
    """
    return text(value).encode()


def text(value: object) -> str:
    """Return the same as a text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: object) -> str:
    """Return the sha256 of the canonical JSON of `value`, in hex."""
    return hashlib.sha256(dumps(value)).hexdigest()


def seal(document: Mapping[str, object]) -> bytes:
    """Return the canonical bytes of `document` with its own sha256 under the key `sha256`."""
    body = {key: value for key, value in document.items() if key != "sha256"}
    return dumps({**body, "sha256": digest(body)}) + b"\n"


# Any: JSON, which each document's reader checks.
def unseal(data: bytes, where: str, error: type[AmixError]) -> dict[str, Any]:
    """Return the document that `seal` wrote, `sha256` included.

    where: the file, for the message.  Raises `error` when the bytes are not JSON or the hash does not match.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as problem:
        raise error(f"{where}: not JSON ({problem}). The file is damaged; build it again.") from None
    if not isinstance(document, dict):
        raise error(f"{where}: holds a {type(document).__name__} instead of an object. Build it again.")
    try:
        sealed = seal(document)
    except (ValueError, UnicodeEncodeError):
        sealed = b""
    if sealed != data:
        raise error(
            f"{where}: the content does not match its own sha256. The file was changed or damaged; "
            "build it again."
        )
    return document
