"""A real browser, without a screen, for pages that are to be looked at; tests skip where there is none."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

BROWSERS = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
BROWSER = next((path for path in BROWSERS if path), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")


def browse(page: Path, profile: Path, fragment: str, *options: str) -> "subprocess.CompletedProcess[str]":
    """Open `page` at a fragment, with options such as `--dump-dom`. profile: a folder for what the browser keeps."""
    assert BROWSER is not None
    # Each flag keeps a fresh headless browser from reaching for the network or a screen.
    flags = "headless no-sandbox disable-gpu disable-quic no-first-run hide-scrollbars disable-sync"
    flags += " disable-background-networking disable-component-update"
    quiet = [f"--{flag}" for flag in flags.split()] + [f"--user-data-dir={profile}/profile"]
    command = [BROWSER, *quiet, *options, page.as_uri() + fragment]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def colours_of(
    page: Path, profile: Path, fragment: str, width: int, *options: str
) -> dict[tuple[int, ...], int]:
    """Return how many points of a screenshot, 1,600 high, have each colour."""
    from PIL import Image

    picture = profile / "page.png"
    browse(page, profile, fragment, f"--screenshot={picture}", f"--window-size={width},1600", *options)
    with Image.open(picture) as image:
        assert image.width >= width
        found: Any = image.convert("RGB").getcolors(
            1 << 24
        )  # Any: of an RGB image these are counts and triples
    return {colour: count for count, colour in found}
