"""How to install an extra of amix: the sentence of every error about a missing package."""

import json
import shlex
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

DISTRIBUTION = "attentionmix"
_ROOT = Path(__file__).resolve().parents[3]  # the clone, if amix runs from one


def install(extra: str, *alternatives: str) -> str:
    """Return the command that installs an extra of amix from where this amix came: clone, archive, repository, index.

    alternatives: extras of which one may be installed in its place, added in words.
    """
    command = f"pip install {_requirement(extra)}"
    return f"{command} (or [{', '.join(alternatives)}], never both)" if alternatives else command


def _requirement(extra: str) -> str:
    if (_ROOT / "pyproject.toml").is_file():  # imported from a clone, installed or not
        return f"-e {shlex.quote(f'{_ROOT}[{extra}]')}"
    origin = _origin()
    name = f"{DISTRIBUTION}[{extra}]"
    if origin is None:
        return f"'{name}'"
    folder = _folder(origin)
    return shlex.quote(f"{name} @ {origin}" if folder is None else f"{folder}[{extra}]")


def _origin() -> str | None:
    """Return the URL that pip installed amix from (PEP 610), None for a release from a package index."""
    try:
        text = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return None
    if text is None:
        return None
    found = json.loads(text)
    version_control = found.get("vcs_info", {}).get("vcs")
    return f"{version_control}+{found['url']}" if version_control else str(found["url"])


def _folder(url: str) -> str | None:
    """Return the folder that a URL means, None for an archive or something elsewhere."""
    parts = urlsplit(url)
    path = unquote(parts.path)
    return path if parts.scheme == "file" and not Path(path).is_file() else None
