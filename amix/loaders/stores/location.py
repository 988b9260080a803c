"""Where a folder is: at a path of this machine, or at a URL."""

import re
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def is_remote(location: str | Path) -> bool:
    """Tell a URL (`s3://`, `gs://`, `hf://`, `https://` and others that fsspec knows) from a path."""
    return isinstance(location, str) and _URL.match(location) is not None


def joined(location: str, name: str) -> str:
    """Return the URL of a file in the folder `location`; a query, as in a signed URL, stays at the end."""
    parts = urlsplit(location)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}"))


def shown(location: str | Path) -> str:
    """Return a location as messages may show it: without user, password, query and fragment, which may hold secrets."""
    if not is_remote(location):
        return str(location)
    parts = urlsplit(str(location))
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
